"""Detection of archives that are completely copied into a folder."""

import time
from dataclasses import dataclass
from pathlib import Path

from nautilus_torchserve.signing.archive_signature import Untrusted, read_identity

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
    """Return the files in a folder now; the look ``before`` tells since when they are unchanged."""
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
    paths = [folder / name for _, name in sorted(complete)]
    return [path for path in paths if _is_archive(path) or _unwritten_s(path) >= patience_s]


def _is_archive(path: Path) -> bool:
    try:
        read_identity(path)
        return True
    except Untrusted:
        return False


def _unwritten_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime if path.is_file() else 0.0
