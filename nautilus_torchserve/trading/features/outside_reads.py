"""What a user's features read beside the data that they are given: files, the network, other programs.

Python reports such an access as an audit event (PEP 578). Recorded is what the user's own code does, itself or through
a library, while it runs or is imported; imports, and what Python and its packages bring with them, are not. A library
that opens files without Python, as Arrow's Parquet reader does, reports nothing.
"""

import os
import sys
import threading
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from nautilus_torchserve.bundle import LIBRARY_ROOT

_EVENTS = {
    "open": "the file",
    "sqlite3.connect": "the database",
    "socket.connect": "the network at",
    "socket.getaddrinfo": "the network at",
    "subprocess.Popen": "the output of",
    "os.system": "the output of",
}
_LIBRARY = f"{LIBRARY_ROOT / 'nautilus_torchserve'}{os.sep}"
_INSTALLED = tuple(
    {f"{folder}{os.sep}" for name in (sys.prefix, sys.base_prefix) for folder in (name, os.path.realpath(name))}
)
_SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", *_INSTALLED, *zoneinfo.TZPATH)
_recorders: dict[int, dict[str, None]] = {}  # thread -> reads so far, without repetition
_is_installed = False  # audit hooks cannot be removed


@contextmanager
def recorded_reads() -> Iterator[dict[str, None]]:
    """Yield a dict whose keys are what this thread's user code reads within the block, each with its line."""
    global _is_installed
    if not _is_installed:
        sys.addaudithook(_on_event)
        _is_installed = True
    thread = threading.get_ident()
    reads: dict[str, None] = {}
    _recorders[thread] = reads
    try:
        yield reads
    finally:
        del _recorders[thread]


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    what = _EVENTS.get(event)
    if what is None or not _recorders:
        return
    reads = _recorders.get(threading.get_ident())
    if reads is None or (event == "open" and not _is_read(*arguments)):
        return
    place = _place(sys._getframe(1))
    if place is not None:
        target = arguments[1] if event == "socket.connect" else arguments[0]
        reads[f"{what} {os.fsdecode(target) if isinstance(target, bytes) else target} ({place})"] = None


def _is_read(path: Any, mode: str | None, flags: int) -> bool:
    is_written = flags & os.O_ACCMODE == os.O_WRONLY or flags & (os.O_EXCL | os.O_TRUNC)
    if not isinstance(path, str | bytes | os.PathLike) or is_written:
        return False
    name = Path(os.fsdecode(path)).absolute()
    return not str(name).startswith(_SYSTEM) and name.suffix not in (".py", ".pyc")


def _place(frame: FrameType | None) -> str | None:
    """Return the line of the user's code that is at work; None for the library's, or an import's."""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(("<frozen importlib", _LIBRARY)):
            return None
        if not name.startswith(("<", *_INSTALLED)):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return None
