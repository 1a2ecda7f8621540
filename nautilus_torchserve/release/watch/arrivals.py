"""Archives that have arrived in a folder: wholly, not half copied."""

import time
from dataclasses import dataclass
from pathlib import Path

from nautilus_torchserve.signing.archive_signature import Untrusted, read_identity

PATIENCE_S = 60.0
"""How long a file that is no archive (yet) may go unwritten until it counts as one that never will be."""


@dataclass(frozen=True)
class Seen:
    """A file as it was found, whatever its name."""

    name: str
    size: int
    mtime_ns: int
    since_s: float
    """Since when it has been like that, by a monotonic clock."""


Files = dict[tuple[int, int], Seen]
"""Device and inode -> the file: a file that is renamed stays the same."""


def look(folder: Path, before: Files) -> Files:
    """The files that lie in a folder now; since when, follows from what was seen ``before``."""
    now_s = time.monotonic()
    found = {}
    for path in folder.iterdir():
        try:
            status = path.stat()
        except FileNotFoundError:  # renamed or deleted just now
            continue
        if not path.is_file():
            continue
        key, last = (status.st_dev, status.st_ino), before.get((status.st_dev, status.st_ino))
        unchanged = last is not None and (last.size, last.mtime_ns) == (status.st_size, status.st_mtime_ns)
        since_s = last.since_s if last is not None and unchanged else now_s
        found[key] = Seen(path.name, status.st_size, status.st_mtime_ns, since_s)
    return found


def arrived(folder: Path, before: Files, now: Files, interval_s: float, patience_s: float = PATIENCE_S) -> list[Path]:
    """The archives that are there wholly, in the order in which they were made.

    Those that have not changed for ``interval_s``, or that got their name since the look before without having
    changed, as when somebody copies under another name and renames. Half an archive is none, so that a copy
    that stalls for longer than that is left alone too, until nobody has written to it for ``patience_s``.
    """
    time_s = time.monotonic()
    found = []
    for key, file in now.items():
        if not file.name.endswith(".mar") or file.name.startswith("."):
            continue
        last = before.get(key)
        renamed = last is not None and last.since_s == file.since_s and last.name != file.name
        if renamed or time_s - file.since_s >= interval_s:
            found.append((file.mtime_ns, file.name))
    paths = [folder / name for _, name in sorted(found)]
    return [path for path in paths if _is_archive(path) or _unwritten_s(path) >= patience_s]


def _is_archive(path: Path) -> bool:
    try:
        read_identity(path)
        return True
    except Untrusted:
        return False


def _unwritten_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime if path.is_file() else 0.0
