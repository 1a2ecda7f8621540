"""Rolling out archives as they appear in a folder.

``FOLDER/x.mar`` goes to ``FOLDER/under-way`` while it is rolled out, then to ``FOLDER/done`` or ``FOLDER/refused``,
with a report beside it. What is under way when the process ends is gone on with when the next one starts.
"""

import fcntl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from zipfile import BadZipFile

from yaml import YAMLError

from nautilus_torchserve.files.state_file import write_state
from nautilus_torchserve.release.rollout.journal import RolloutRefused, journaled_models
from nautilus_torchserve.release.rollout.limits import Limits
from nautilus_torchserve.release.rollout.prune import prune
from nautilus_torchserve.release.rollout.rollout import DEFAULTS, register
from nautilus_torchserve.release.rollout.target import NoTarget, Target
from nautilus_torchserve.release.watch.arrivals import PATIENCE_S, Files, arrived, look
from nautilus_torchserve.serving.server.management import ManagementError
from nautilus_torchserve.serving.tokens import NoToken
from nautilus_torchserve.signing.archive_signature import Untrusted, read_identity
from nautilus_torchserve.traffic.store import DEFAULT_URL, open_splits
from nautilus_torchserve.user_error import UserError

UNDER_WAY: Final = "under-way"
DONE: Final = "done"
REFUSED: Final = "refused"
LOCK = ".watch.lock"
_PRUNE_EVERY_S = 60.0
MALFORMED = (ArithmeticError, AttributeError, BadZipFile, EOFError, LookupError, TypeError, ValueError, YAMLError)
"""What our own code raises over a signed archive that lacks what every archive has."""


class WatchRefused(UserError):
    """Another process watches this folder, or archives must not be taken away from it."""


@dataclass(frozen=True)
class Taken:
    """An archive that was found in the folder."""

    path: Path
    """Where it lies now."""
    outcome: Literal["done", "refused", "left"]
    """``left``: it is not the archive's fault, and it is tried again."""
    model: str
    """Empty where that could not be read."""
    version: str
    reason: str | None
    """Why it is not done."""


@dataclass(frozen=True)
class Watched:
    """What is watched, and what happens to what appears there."""

    folder: Path
    """Where archives appear."""
    find_target: Callable[[], Target]
    """The server to roll out to, found anew for every archive: tokens and ports change when it is restarted."""
    trusted: Path
    """Folder of public keys."""
    limits: Limits = DEFAULTS
    """Of every rollout."""
    interval_s: float = 2.0
    """Time between two looks, and how long an archive must have been unchanged, seconds."""
    patience_s: float = PATIENCE_S
    """How long a file that is no archive must have been unwritten until it is refused, seconds."""
    unload_after_s: float | None = None
    """How long after a rollback the version that was rolled back from is removed, seconds; None: it stays."""
    splits: str = DEFAULT_URL
    """Database of routers and splits, which may still use such a version."""


def watch(watched: Watched, stopped: threading.Event, say: Callable[[str], None], once: bool = False) -> list[Taken]:
    """Roll out what appears in a folder, one archive after the other, the older ones first.

    Parameters
    ----------
    stopped : threading.Event
        Ends it. Whoever sets it also raises KeyboardInterrupt, for a rollout to undo itself; its archive is
        left under way.
    say : callable
        Takes what happens, in words.
    once : bool
        End when what is there now is rolled out.

    Returns
    -------
    list of Taken
        What was done and refused since it began, and what was left at the end.

    Raises
    ------
    WatchRefused
    """
    _check_not_store(watched)
    for name in (UNDER_WAY, DONE, REFUSED):
        (watched.folder / name).mkdir(parents=True, exist_ok=True)
    ended: list[Taken] = []
    left: list[Taken] = []
    pruning = _Pruning()
    with _alone(watched.folder):
        try:
            seen = look(watched.folder, {})
            while not stopped.is_set():
                stopped.wait(watched.interval_s)
                seen = _claim(watched, seen)
                was_left, left = left, []
                for path in _under_way(watched.folder):
                    if stopped.is_set():
                        break
                    taken = _take(watched, path, stopped, say)
                    (left if taken.outcome == "left" else ended).append(taken)
                    if taken not in was_left:
                        say(f"{taken.path}: {taken.outcome}{f': {taken.reason}' if taken.reason else ''}")
                _prune(watched, pruning, say)
                if once:
                    break
        except KeyboardInterrupt:
            stopped.set()
        if once or stopped.is_set():
            left += _not_reached(watched.folder, left)
    return ended + left


def _check_not_store(watched: Watched) -> None:
    try:
        store = watched.find_target().model_store
    except (NoTarget, NoToken):  # it will be waited for
        return
    if store.resolve() == watched.folder.resolve():
        raise WatchRefused(f"{watched.folder}: another folder than the server's model store expected, was that")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder; the kernel gives it back when the process ends, however it does."""
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WatchRefused(f"{folder}: a folder that nobody watches expected, was watched already") from None
        yield


def _claim(watched: Watched, before: Files) -> Files:
    """Move what has arrived out of the way of what may come under the same name."""
    now = look(watched.folder, before)
    for path in arrived(watched.folder, before, now, watched.interval_s, watched.patience_s):
        with suppress(FileNotFoundError):  # somebody has thought better of it
            path.rename(_free(watched.folder / UNDER_WAY, path.name))
    return now


def _under_way(folder: Path) -> list[Path]:
    """The older ones first: a version is made before the one that replaces it."""
    found = sorted((file.mtime_ns, file.name) for file in look(folder / UNDER_WAY, {}).values())
    return [folder / UNDER_WAY / name for _, name in found if name.endswith(".mar")]


def _not_reached(folder: Path, left: list[Taken]) -> list[Taken]:
    known = {taken.path for taken in left}
    waiting = [path for path in _under_way(folder) if path not in known]
    arriving = sorted(path for path in folder.glob("*.mar") if path.is_file() and not path.name.startswith("."))
    return [
        *(Taken(path, "left", "", "", "not begun, or undone when it was interrupted") for path in waiting),
        *(Taken(path, "left", "", "", f"not there wholly yet: {_why_not(path)}") for path in arriving),
    ]


def _why_not(path: Path) -> str:
    try:
        read_identity(path)
        return "it has changed a moment ago"
    except Untrusted as error:
        return str(error)


def _take(watched: Watched, path: Path, stopped: threading.Event, say: Callable[[str], None]) -> Taken:
    """Roll out one archive, and put it where it belongs then."""
    try:
        model, version = read_identity(path)
    except Untrusted as error:
        return _put(watched, path, REFUSED, "", "", {"reason": str(error)})
    try:
        target = watched.find_target()
        target.manager().model_names()
    except (NoTarget, NoToken, ManagementError) as error:
        return Taken(path, "left", model, version, f"waits for the server: {error}")
    try:
        report = register(target, model, path, watched.trusted, watched.limits, say=say)
    except RolloutRefused as error:
        return Taken(path, "left", model, version, str(error))
    except MALFORMED as error:
        found = {"reason": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        return _put(watched, path, REFUSED, model, version, found)
    if report.ok:
        return _put(watched, path, DONE, model, version, report.as_dict())
    if stopped.is_set():
        return Taken(path, "left", model, version, report.reason)
    return _put(watched, path, REFUSED, model, version, report.as_dict())


@dataclass
class _Pruning:
    """When versions were last looked at, and what was said of them."""

    next_s: float = 0.0
    said: str = ""


def _prune(watched: Watched, pruning: _Pruning, say: Callable[[str], None]) -> None:
    """Remove, once a minute, what was rolled back from long enough ago; a failure is said once and tried again."""
    if watched.unload_after_s is None or time.monotonic() < pruning.next_s:
        return
    pruning.next_s = time.monotonic() + _PRUNE_EVERY_S
    try:
        target = watched.find_target()
        with open_splits(watched.splits) as splits:
            pruned = [
                prune(target, model, watched.unload_after_s, splits, watched.limits, say)
                for model in journaled_models(target.model_store)
            ]
        lines = [f"{each.model} {version}: removed" for each in pruned for version in each.removed]
        lines += [
            f"{each.model} {version}: stays, {reason}"
            for each in pruned
            for version, reason in {**each.kept, **each.failed}.items()
        ]
    except UserError as error:
        lines = [f"nothing is unloaded: {error}"]
    if (text := "\n".join(lines)) != pruning.said:
        pruning.said = text
        if text:
            say(text)


def _put(
    watched: Watched, path: Path, outcome: Literal["done", "refused"], model: str, version: str, found: dict[str, Any]
) -> Taken:
    """Move an archive to where it belongs, its report first."""
    to = _free(watched.folder / outcome, path.name)
    report = {"archive": to.name, "ok": outcome == DONE, "model": model, "version": version, **found}
    write_state(to.with_name(f"{to.name}.json"), report)
    with suppress(FileNotFoundError):  # somebody has taken it away; the report stays
        path.rename(to)
    return Taken(to, outcome, model, version, found.get("reason"))


def _free(folder: Path, name: str) -> Path:
    """A place for this file in the folder: ``tick.mar``, ``tick.2.mar``, ``tick.3.mar``, ..."""
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{Path(name).stem}.{number}.mar"
    return path
