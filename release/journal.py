"""What outlives a rollout's process: who may change a model now, what is under way, which versions served before.

Kept beside the archives (``<model store>/.rollout``), so that every host that can put an archive into the
store sees the same.
"""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from release.target import Target
from wire.fresh_file import fresh_file, settle
from wire.user_error import UserError

FOLDER = ".rollout"
_LOOK_S = 0.3
_held = threading.local()
"""This thread's locks, so that a canary can hold a model's lock while it promotes."""


class RolloutRefused(UserError):
    """Nothing was begun: somebody else changes this model now, or it makes no sense."""


@dataclass(frozen=True)
class UnderWay:
    """A change that has begun; what is left of it when its process was killed is mended from this."""

    action: str
    version: str
    previous: str | None
    """The default version before."""
    step: str = ""
    """The step begun last."""
    file: str | None = None
    """The archive that it put into the model store."""
    registers: bool = False
    """Whether the version was registered by it, and goes when it fails."""
    passed: bool = False
    """Whether all gates are behind it: then it is finished, not undone."""


@dataclass(frozen=True)
class Journal:
    """What is remembered of a model."""

    defaults: tuple[str, ...] = ()
    """Versions that were the default one, the present one last."""
    under_way: UnderWay | None = None
    """A change that has begun and not ended."""
    files: dict[str, str] = field(default_factory=dict)
    """Version -> archive that rollouts put into the model store; these are theirs to delete."""

    def with_default(self, version: str | None) -> "Journal":
        """With this as the present default version."""
        if version is None or self.defaults[-1:] == (version,):
            return self
        return replace(self, defaults=(*(each for each in self.defaults if each != version), version))

    def without(self, version: str) -> "Journal":
        """With this version forgotten."""
        files = {name: file for name, file in self.files.items() if name != version}
        return replace(self, defaults=tuple(each for each in self.defaults if each != version), files=files)


def read_journal(target: Target, model: str) -> Journal:
    """What is remembered of a model; empty where it was never rolled out."""
    try:
        kept = json.loads((target.model_store / FOLDER / f"{model}.json").read_text())
    except FileNotFoundError:
        return Journal()
    under_way = kept["under_way"] and UnderWay(**kept["under_way"])
    return Journal(tuple(kept["defaults"]), under_way, kept["files"])


def write_journal(target: Target, model: str, journal: Journal) -> None:
    """Remember it, in one step and on the disk before this returns."""
    path = target.model_store / FOLDER / f"{model}.json"
    with fresh_file(path.parent, path.name) as file:
        file.write(json.dumps(asdict(journal), indent=1).encode())
        settle(file, path, 0o644)


def journaled_models(target: Target) -> list[str]:
    """Models that were ever rolled out."""
    return sorted(path.stem for path in (target.model_store / FOLDER).glob("*.json"))


@contextmanager
def locked(target: Target, model: str, action: str) -> Iterator[None]:
    """Hold a model against other changes. The kernel gives the lock back when the process ends, however it does.

    The same thread may take it again while it holds it.

    Raises
    ------
    RolloutRefused
        Somebody else holds it; says who.
    """
    folder = target.model_store / FOLDER
    key = folder.resolve() / model
    held: set[Path] = vars(_held).setdefault("models", set())
    if key in held:
        yield
        return
    if not target.model_store.is_dir():
        raise RolloutRefused(f"{target.model_store}: the server's model store expected, was no folder")
    folder.mkdir(exist_ok=True)
    with (folder / f"{model}.lock").open("a+") as lock:
        deadline = time.monotonic() + _LOOK_S
        while not _lock(lock):  # somebody may hold it for the moment it takes to see whether it is held
            if time.monotonic() > deadline:
                holder = lock_holder(target, model)
                raise RolloutRefused(
                    f"{model}: no other rollout expected, was: {holder}; it undoes itself when interrupted (SIGINT)"
                )
            time.sleep(0.01)
        lock.truncate(0)
        lock.write(json.dumps({"action": action, "process": os.getpid(), "host": socket.gethostname()}))
        lock.flush()
        held.add(key)
        try:
            yield
        finally:
            held.discard(key)
            lock.truncate(0)


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_holder(target: Target, model: str) -> str | None:
    """Who changes a model now, in words; None when nobody does."""
    try:
        with (target.model_store / FOLDER / f"{model}.lock").open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except BlockingIOError:
                said = lock.read()
    except FileNotFoundError:
        return None
    if not said:
        return "a rollout that begins or ends just now"
    holder: dict[str, Any] = json.loads(said)
    return f"{holder['action']}, process {holder['process']} on {holder['host']}"
