"""Rollout of archives as they appear in a folder.

``FOLDER/x.mar`` goes to ``FOLDER/under-way`` while it is rolled out, then to ``FOLDER/done`` or ``FOLDER/refused``,
with a report beside it. The next process resumes what is under way when this one ends.
"""

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

from nautilus_torchserve.files.atomic_file import free_path
from nautilus_torchserve.files.lock import try_lock
from nautilus_torchserve.files.state_file import write_state
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.journal import RolloutRefused, journaled_models
from nautilus_torchserve.release.rollout.prune import prune
from nautilus_torchserve.release.rollout.report import Progress
from nautilus_torchserve.release.rollout.rollout import DEFAULTS, register
from nautilus_torchserve.release.rollout.target import NoTarget, Target
from nautilus_torchserve.serving.server.management import ManagementError
from nautilus_torchserve.serving.tokens import NoToken
from nautilus_torchserve.signing.archive_signature import Untrusted, read_identity
from nautilus_torchserve.traffic.store import DEFAULT_URL, open_splits
from nautilus_torchserve.user_error import UserError

PATIENCE_S = 60.0
"""Time that a file that is no archive (yet) may go unwritten before it is taken for a damaged one, seconds."""


@dataclass(frozen=True)
class FileState:
    """A file at one look into the folder."""

    name: str
    size: int
    mtime_ns: int
    since_s: float
    """Time since when it is unchanged, by a monotonic clock."""


Files = dict[tuple[int, int], FileState]
"""Device and inode -> the file: a file that is renamed stays the same."""


def list_files(folder: Path, before: Files) -> Files:
    """Return the files in a folder now; the look ``before`` gives since when they are unchanged."""
    now_s = time.monotonic()
    files = {}
    for path in folder.iterdir():
        try:
            status = path.stat()
        except FileNotFoundError:  # renamed or deleted meanwhile
            continue
        if not path.is_file():
            continue
        key, last = (status.st_dev, status.st_ino), before.get((status.st_dev, status.st_ino))
        unchanged = last is not None and (last.size, last.mtime_ns) == (status.st_size, status.st_mtime_ns)
        since_s = last.since_s if last is not None and unchanged else now_s
        files[key] = FileState(path.name, status.st_size, status.st_mtime_ns, since_s)
    return files


def complete_archives(
    folder: Path, before: Files, now: Files, interval_s: float, patience_s: float = PATIENCE_S
) -> list[Path]:
    """Return the archives that are complete, the oldest first.

    An archive is complete when it has not changed for ``interval_s``, or was renamed since the look before without
    having changed, as by a copy under another name. Half an archive is no archive, so that a copy that stalls for
    longer is left alone, too, until it has not been written for ``patience_s``.
    """
    now_s = time.monotonic()
    complete = []
    for key, file in now.items():
        if not file.name.endswith(".mar") or file.name.startswith("."):
            continue
        last = before.get(key)
        renamed = last is not None and last.since_s == file.since_s and last.name != file.name
        if renamed or now_s - file.since_s >= interval_s:
            complete.append((file.mtime_ns, file.name))
    written_before_ns = time.time_ns() - patience_s * 1e9
    return [
        folder / name
        for mtime_ns, name in sorted(complete)
        if mtime_ns <= written_before_ns or _is_archive(folder / name)
    ]


def _is_archive(path: Path) -> bool:
    try:
        read_identity(path)
        return True
    except Untrusted:
        return False


UNDER_WAY: Final = "under-way"
DONE: Final = "done"
REFUSED: Final = "refused"
LOCK = ".watch.lock"
_PRUNE_EVERY_S = 60.0
MALFORMED = (ArithmeticError, AttributeError, BadZipFile, EOFError, LookupError, TypeError, ValueError, YAMLError)
"""Errors of reading a signed archive that lacks what every archive has."""


class WatchRefused(UserError):
    """Another process watches this folder, or it is the model store."""


@dataclass(frozen=True)
class WatchedArchive:
    """An archive that appeared in the folder."""

    path: Path
    """Current path of the archive."""
    outcome: Literal["done", "refused", "left"]
    """``left``: not for a fault of the archive; it is tried again."""
    model: str
    """Empty where it could not be read."""
    version: str
    reason: str | None
    """Reason why it is not done."""


@dataclass(frozen=True)
class WatchSettings:
    """The folder to watch, and how archives are rolled out."""

    folder: Path
    """Folder that archives appear in."""
    find_target: Callable[[], Target]
    """Finds the server for every archive: tokens and ports change when it is restarted."""
    trusted: Path
    """Folder of public keys."""
    limits: Limits = DEFAULTS
    """Limits of every rollout."""
    interval_s: float = 2.0
    """Time between two looks, and how long an archive must be unchanged, seconds."""
    unload_after_s: float | None = None
    """Time after a rollback until the version rolled back from is removed, seconds; None: it stays."""
    splits: str = DEFAULT_URL
    """Database of routers and splits, which may still use such a version."""


def watch(
    settings: WatchSettings, stopped: threading.Event, progress: Progress, once: bool = False
) -> list[WatchedArchive]:
    """Roll out the archives that appear in a folder, one after the other, the oldest first.

    Parameters
    ----------
    stopped : threading.Event
        Ends it. Its setter also raises KeyboardInterrupt, for a rollout to undo itself; the archive is left under
        way.
    progress : callable
        Takes lines of progress.
    once : bool
        End when the archives that are there now are rolled out.

    Returns
    -------
    list of WatchedArchive
        Archives done and refused since it began, and those left at the end.

    Raises
    ------
    WatchRefused
    """
    _check_not_store(settings)
    for name in (UNDER_WAY, DONE, REFUSED):
        (settings.folder / name).mkdir(parents=True, exist_ok=True)
    ended: list[WatchedArchive] = []
    left: list[WatchedArchive] = []
    pruning = _Pruning()
    with _locked(settings.folder):
        try:
            files = list_files(settings.folder, {})
            while not stopped.is_set():
                stopped.wait(settings.interval_s)
                files = _claim(settings, files)
                left_before, left = left, []
                for path in _under_way(settings.folder):
                    if stopped.is_set():
                        break
                    archive = _roll_out(settings, path, stopped, progress)
                    (left if archive.outcome == "left" else ended).append(archive)
                    if archive not in left_before:
                        reason = f": {archive.reason}" if archive.reason else ""
                        progress(f"{archive.path}: {archive.outcome}{reason}")
                _prune(settings, pruning, progress)
                if once:
                    break
        except KeyboardInterrupt:
            stopped.set()
        if once or stopped.is_set():
            left += _not_reached(settings.folder, left)
    return ended + left


def _check_not_store(settings: WatchSettings) -> None:
    try:
        store = settings.find_target().model_store
    except (NoTarget, NoToken):  # archives wait for the server
        return
    if store.resolve() == settings.folder.resolve():
        raise WatchRefused(f"{settings.folder}: expected another folder than the server's model store, got that")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder; the kernel releases the lock when the process ends, however it does."""
    with (folder / LOCK).open("a") as lock:
        if not try_lock(lock):
            raise WatchRefused(f"{folder}: expected a folder that no process watches, got one that is watched")
        yield


def _claim(settings: WatchSettings, before: Files) -> Files:
    """Move complete archives to ``under-way``, so that others may come under the same name."""
    now = list_files(settings.folder, before)
    for path in complete_archives(settings.folder, before, now, settings.interval_s):
        with suppress(FileNotFoundError):  # deleted meanwhile
            path.rename(free_path(settings.folder / UNDER_WAY, path.stem, ".mar"))
    return now


def _under_way(folder: Path) -> list[Path]:
    """Return the archives under way, the oldest first: a version is packed before the one that replaces it."""
    files = sorted((file.mtime_ns, file.name) for file in list_files(folder / UNDER_WAY, {}).values())
    return [folder / UNDER_WAY / name for _, name in files if name.endswith(".mar")]


def _not_reached(folder: Path, left: list[WatchedArchive]) -> list[WatchedArchive]:
    known = {archive.path for archive in left}
    waiting = [path for path in _under_way(folder) if path not in known]
    incomplete = sorted(path for path in folder.glob("*.mar") if path.is_file() and not path.name.startswith("."))
    return [
        *(WatchedArchive(path, "left", "", "", "not begun, or undone when it was interrupted") for path in waiting),
        *(WatchedArchive(path, "left", "", "", f"not complete yet: {_why_incomplete(path)}") for path in incomplete),
    ]


def _why_incomplete(path: Path) -> str:
    try:
        read_identity(path)
        return "it has changed a moment ago"
    except Untrusted as error:
        return str(error)


def _roll_out(settings: WatchSettings, path: Path, stopped: threading.Event, progress: Progress) -> WatchedArchive:
    """Roll out one archive, and move it to ``done`` or ``refused``."""
    try:
        model, version = read_identity(path)
    except Untrusted as error:
        return _move(settings, path, REFUSED, "", "", {"reason": str(error)})
    try:
        target = settings.find_target()
        target.manager().model_names()
    except (NoTarget, NoToken, ManagementError) as error:
        return WatchedArchive(path, "left", model, version, f"waits for the server: {error}")
    try:
        report = register(target, model, path, settings.trusted, settings.limits, progress=progress)
    except RolloutRefused as error:
        return WatchedArchive(path, "left", model, version, str(error))
    except MALFORMED as error:
        details = {"reason": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        return _move(settings, path, REFUSED, model, version, details)
    if report.ok:
        return _move(settings, path, DONE, model, version, report.as_dict())
    if stopped.is_set():
        return WatchedArchive(path, "left", model, version, report.reason)
    return _move(settings, path, REFUSED, model, version, report.as_dict())


@dataclass
class _Pruning:
    """Time of the next pruning, and the text reported last."""

    next_s: float = 0.0
    text: str = ""


def _prune(settings: WatchSettings, pruning: _Pruning, progress: Progress) -> None:
    """Remove, once a minute, versions rolled back from long enough ago; a failure is reported once and retried."""
    if settings.unload_after_s is None or time.monotonic() < pruning.next_s:
        return
    pruning.next_s = time.monotonic() + _PRUNE_EVERY_S
    try:
        target = settings.find_target()
        with open_splits(settings.splits) as splits:
            pruned = [
                prune(target, model, settings.unload_after_s, splits, settings.limits, progress)
                for model in journaled_models(target.model_store)
            ]
        lines = [line for models in pruned for line in (*models.lines(), *models.failures())]
    except UserError as error:
        lines = [f"nothing is unloaded: {error}"]
    if (text := "\n".join(lines)) != pruning.text:
        pruning.text = text
        if text:
            progress(text)


def _move(
    settings: WatchSettings,
    path: Path,
    outcome: Literal["done", "refused"],
    model: str,
    version: str,
    details: dict[str, Any],
) -> WatchedArchive:
    """Write an archive's report, and move the archive beside it."""
    to = free_path(settings.folder / outcome, path.stem, ".mar")
    report = {"archive": to.name, "ok": outcome == DONE, "model": model, "version": version, **details}
    write_state(to.with_name(f"{to.name}.json"), report)
    with suppress(FileNotFoundError):  # deleted meanwhile; the report stays
        path.rename(to)
    return WatchedArchive(to, outcome, model, version, details.get("reason"))
