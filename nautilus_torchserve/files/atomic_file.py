"""Files that appear whole or not at all, and stay after a power cut."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def fresh_file(folder: Path, label: str) -> Iterator[IO[bytes]]:
    """Open a new file in ``folder`` under a temporary name; it is removed with the block, unless `settle` has named it.

    A process that is killed leaves it: `remove_unsettled`.
    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix=_prefix(label), delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name this file in an `OSError` of the block, which has only the temporary name, or none."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def settle(file: IO[bytes], path: Path, mode: int) -> None:
    """Rename the written file to its place in the same folder, over what was there, with these permissions."""
    file.flush()
    os.fchmod(file.fileno(), mode)
    os.fsync(file.fileno())
    Path(file.name).replace(path)
    sync_folder(path.parent)


def free_path(folder: Path, stem: str, suffix: str = "") -> Path:
    """Return a path that is not taken: ``tick.mar``, ``tick.2.mar``, ``tick.3.mar``, ..."""
    path, number = folder / f"{stem}{suffix}", 1
    while os.path.lexists(path):
        number += 1
        path = folder / f"{stem}.{number}{suffix}"
    return path


def remove_unsettled(folder: Path, label: str) -> None:
    """Remove the temporary files that killed processes have left; no other process may be writing under this label."""
    for path in folder.iterdir():
        if path.name.startswith(_prefix(label)):
            path.unlink()


def _prefix(label: str) -> str:
    return f".{label}.@"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
