"""Journal and lock of a model's rollouts, which outlive the process: what is under way, which versions served before.

They lie beside the archives (``<model store>/.rollout``), so that every host that can write to the model store sees
the same.
"""

import errno
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import msgspec
from msgspec.structs import replace

from nautilus_torchserve.files.lock import try_lock
from nautilus_torchserve.files.state_file import DamagedState, read_state, write_state
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.names import VersionName, check_model_name, is_model_name

FOLDER = ".rollout"
REMEDY = "nautilus-torchserve rollout repair rebuilds it from what the server serves"
_LOCK_TIMEOUT_S = 0.3
_held_locks = threading.local()
"""This thread's locks, so that a canary can promote while it holds a model's lock."""
ArchiveFile = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}\Z")]
"""File name of an archive in the model store."""
Digest = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?\Z")]
"""Content digest of an archive; empty where it is not known."""
Action = Literal["register", "promote", "rollback", "remove"]
"""Kinds of changes."""
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class RolloutRefused(UserError):
    """Nothing was begun: another process is changing this model, or the request makes no sense."""


class PendingChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change that has begun; `repair` recovers from this what a killed process left."""

    action: Action
    version: VersionName
    previous: VersionName | None
    """The default version before."""
    step: str = ""
    """The step that began last."""
    file: ArchiveFile | None = None
    """The archive that it wrote to the model store."""
    registers: bool = False
    """Whether the rollout registered the version, which is unregistered where it fails."""
    point_of_no_return: bool = msgspec.field(default=False, name="passed")
    """Whether all gates were passed: then it is finished, not undone."""
    digest: Digest = ""
    """Content digest of the version's archive."""


class Journal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Record of a model's rollouts."""

    defaults: tuple[VersionName, ...] = ()
    """Versions that were the default one, the current one last."""
    under_way: PendingChange | None = None
    """A change that has begun and has not ended."""
    files: dict[VersionName, ArchiveFile] = {}
    """Version -> archive that rollouts wrote to the model store and may delete from it."""
    digests: dict[VersionName, Digest] = {}
    """Version -> content digest of its archive, for versions that were registered, promoted, rolled back to or kept
    under a lasting name; empty where the server does not report it."""
    rolled_back: dict[VersionName, Time] = {}
    """Version -> when it was rolled back from; no rollback goes to it."""

    def with_default(self, version: str | None) -> "Journal":
        """Return the journal with this as the current default version."""
        if version is None or (self.defaults[-1:] == (version,) and version not in self.rolled_back):
            return self
        return replace(
            self,
            defaults=(*(earlier for earlier in self.defaults if earlier != version), version),
            rolled_back=_without(self.rolled_back, version),
        )

    def after_rollback(self, version: str, previous: str | None) -> "Journal":
        """Return the journal after a rollback to this version: no rollback goes to the versions after it."""
        place = self.defaults.index(version) if version in self.defaults else len(self.defaults)
        now = datetime.now(UTC).replace(microsecond=0)
        later = (*self.defaults[place:], *filter(None, (previous,)))
        rolled_back = {name: now for name in later if name != version}
        defaults = tuple(name for name in self.defaults if name not in rolled_back)
        journal = replace(self, defaults=defaults, rolled_back={**self.rolled_back, **rolled_back})
        return journal.with_default(version)

    def with_server_default(self, default: str | None) -> "Journal":
        """Return the journal with the server's default version, which may have changed without a record here.

        An earlier default version is the default one again only after a rollback to it.
        """
        if default in self.defaults[:-1]:
            return self.after_rollback(default, None)
        return self.with_default(default)

    def without(self, version: str) -> "Journal":
        """Return the journal without this version."""
        return replace(
            self,
            defaults=tuple(name for name in self.defaults if name != version),
            files=_without(self.files, version),
            digests=_without(self.digests, version),
            rolled_back=_without(self.rolled_back, version),
        )


def _without(values: dict[str, Any], version: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != version}


def journal_path(model_store: Path, model: str) -> Path:
    """Return the path of a model's journal; raises `InvalidName`."""
    return model_store / FOLDER / f"{check_model_name(model)}.json"


def read_journal_in(model_store: Path, model: str) -> Journal:
    """Return a model's journal in this model store; an empty one where it was never rolled out.

    Raises
    ------
    DamagedState
        The journal cannot be read.
    InvalidName
    """
    try:
        return read_state(journal_path(model_store, model), Journal, f"the rollout journal of {model}", REMEDY)
    except FileNotFoundError:
        return Journal()


def read_journal(target: Target, model: str) -> Journal:
    """Return a model's journal; raises as `read_journal_in`."""
    return read_journal_in(target.model_store, model)


def write_journal(target: Target, model: str, journal: Journal) -> None:
    """Write a model's journal, atomically and synced to the disk."""
    write_state(journal_path(target.model_store, model), journal)


def journaled_models(model_store: Path) -> list[str]:
    """Return the models that were ever rolled out to a model store."""
    return sorted(path.stem for path in (model_store / FOLDER).glob("*.json") if is_model_name(path.stem))


class _Holder(msgspec.Struct, frozen=True):
    """Process that holds a model's lock, as its file says."""

    action: str
    process: int
    host: str


def recorded_digests(model_store: Path) -> dict[tuple[str, str], str]:
    """Return the content digest of every version that the journals of a model store know, by model and version.

    Raises
    ------
    DamagedState
        A journal cannot be read.
    """
    return {
        (model, version): digest
        for model in journaled_models(model_store)
        for version, digest in read_journal_in(model_store, model).digests.items()
        if digest
    }


@contextmanager
def locked(target: Target, model: str, action: str) -> Iterator[None]:
    """Lock a model against other changes. The kernel releases the lock when the process ends, however it does.

    The lock is reentrant within a thread.

    Raises
    ------
    RolloutRefused
        Another process holds it; the message names it.
    DamagedState
        Something else lies in the place of the lock, or of its folder.
    InvalidName
    """
    folder = target.model_store / FOLDER
    key = folder.resolve() / check_model_name(model)
    held: set[Path] = vars(_held_locks).setdefault("models", set())
    if key in held:
        yield
        return
    with open_lock(target, model) as lock:
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while not try_lock(lock):  # `lock_holder` of another process takes it for a moment
            if time.monotonic() > deadline:
                holder_name = lock_holder(target, model)
                raise RolloutRefused(
                    f"{model}: expected no other rollout, got {holder_name}; it undoes itself when interrupted (SIGINT)"
                )
            time.sleep(0.01)
        holder = _Holder(action, os.getpid(), socket.gethostname())
        with suppress(OSError):  # on a full disk the lock holds all the same
            lock.truncate(0)
            os.pwrite(lock.fileno(), msgspec.json.encode(holder), 0)
        held.add(key)
        try:
            yield
        finally:
            held.discard(key)
            with suppress(OSError):
                lock.truncate(0)


@contextmanager
def open_lock(target: Target, name: str) -> Iterator[IO[bytes]]:
    """Open ``NAME.lock`` beside the journals, creating it where it is missing.

    Raises
    ------
    RolloutRefused
        There is no such model store, or its file system does not distinguish upper and lower case.
    DamagedState
        Something else lies in the place of the lock, or of its folder.
    """
    folder = target.model_store / FOLDER
    if not target.model_store.is_dir():
        raise RolloutRefused(f"{target.model_store}: expected the server's model store, got no folder")
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError:
        raise DamagedState(folder, "the folder of rollout journals", "no folder", REMEDY) from None
    path = folder / f"{name}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
            raise
        raise DamagedState(path, "a lock file", error.strerror or f"{error}", REMEDY) from None
    with os.fdopen(descriptor, "r+b", buffering=0) as lock:
        if not stat.S_ISREG(os.fstat(lock.fileno()).st_mode):
            raise DamagedState(path, "a lock file", "a device, pipe or socket", REMEDY)
        if path not in folder.iterdir():
            raise RolloutRefused(
                f"{path}: expected a file system that distinguishes upper and lower case, or no other "
                "model whose name differs in nothing else"
            )
        yield lock


def lock_holder(target: Target, model: str) -> str | None:
    """Return a description of the process that changes a model now; None where there is none."""
    path = target.model_store / FOLDER / f"{check_model_name(model)}.lock"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None  # nothing that a rollout could hold
    try:
        if try_lock(descriptor, shared=True):
            return None
        content = os.read(descriptor, 4096)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    try:
        holder = msgspec.json.decode(content, type=_Holder)
    except ValueError:  # it is writing its name, or could not for lack of space
        return "an unnamed rollout"
    return f"{holder.action}, process {holder.process} on {holder.host}"
