"""The chain of a log's segments: a file to which lines are only appended, each with the hash of the line before.

A line is ``<hash> <JSON of an Entry>``; its hash is the SHA-256 of the hash of the line before, a blank, and the JSON.
All runs that write to a folder append to the same chain, one at a time. A segment that is still written has a sidecar
beside the chain with two lines for each time that records are appended: the size and hash that the segment is going to
have, and that it has them.
"""

import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

FOLDER, FILE, SIZES = "chain", "chain.jsonl", ".sizes"
"""Folder of the chain in the log's; its file there; suffix of the sidecars there."""
_TAIL_BYTES = 1 << 16
START = "0" * 64
"""Hash in place of that of a line before the first."""
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """An event in the life of a segment."""

    event: Literal["begun", "ended", "adopted"]
    """``begun``: an Arrow stream that is written; ``ended``: it became a Parquet file, or none where it has no records;
    ``adopted``: a Parquet file from before the folder had a chain."""
    segment: str
    """Folder and name without suffix: ``fills/20261130T140000-1a2b3c4d-00001``."""
    at: str
    """UTC time of the entry."""
    rows: int = 0
    """Records of the Parquet file; 0: there is no file."""
    bytes: int = 0
    """Its size."""
    sha256: Sha256 | None = None
    """Its hash."""


class Line(NamedTuple):
    """A line of the chain as it was read."""

    number: int
    """From 1."""
    hash: str
    """The hash that it carries."""
    entry: Entry | None
    """None where it is damaged."""
    expected: str
    """The hash that follows from the line before and the line's own JSON."""

    @property
    def is_whole(self) -> bool:
        """Whether its entry can be read and has the hash that it should have."""
        return self.entry is not None and self.hash == self.expected


class Chain:
    """The chain in a log's folder.

    Parameters
    ----------
    folder : Path
        The log's; ``chain/`` is made in it with the first entry.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FOLDER / FILE
        self.last_hash: str | None = None
        """Hash of the last entry that was appended here; None before the first."""

    def sizes_of(self, segment: str) -> Path:
        """Return the path of a segment's sidecar."""
        return self.path.with_name(segment.replace("/", "-") + SIZES)

    @contextmanager
    def locked(self, shared: bool = False) -> Iterator[None]:
        """Keep other processes from appending meanwhile, or with ``shared`` from being in the middle of it.

        Raises
        ------
        OSError
            There is no chain, or it cannot be made.
        """
        if not shared:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        access = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
        descriptor = os.open(self.path, access | os.O_NONBLOCK, 0o644)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # reading it might not end
                raise OSError(f"no regular file: {self.path}")
            fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def append(self, *entries: Entry) -> None:
        """Append entries and wait until the disk has them. To be called under `locked`.

        What a crash left of a line that was not written to its end is removed first.

        Raises
        ------
        OSError
            It cannot be written; the chain is as before.
        """
        with self.path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().split(b"\n")
            end = size - len(lines.pop())
            line_hash = lines[-1][:64].decode("ascii", "replace") if lines else START
            added = b""
            for entry in entries:
                text = msgspec.json.encode(entry).decode()
                line_hash = _hash(line_hash, text)
                added += f"{line_hash} {text}\n".encode()
            file.truncate(end)
            file.seek(end)
            try:
                file.write(added)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, end)
                raise
        self.last_hash = line_hash

    def lines(self) -> list[Line]:
        """Read all lines, damaged ones too; what lacks its end of line is damaged as well.

        Raises
        ------
        OSError
            There is no chain, or it cannot be read.
        """
        lines: list[Line] = []
        previous = START
        for number, raw in enumerate(self.path.read_bytes().split(b"\n"), start=1):
            line_hash, _, text = raw.decode("utf-8", "replace").partition(" ")
            try:
                entry = msgspec.json.decode(text.encode(), type=Entry)
            except ValueError:
                entry = None
            lines.append(Line(number, line_hash, entry, _hash(previous, text)))
            previous = line_hash
        if lines[-1].hash == "" and lines[-1].entry is None:
            lines.pop()  # after the last end of line
        else:
            lines[-1] = lines[-1]._replace(entry=None)
        return lines

    def is_empty(self) -> bool:
        """Return whether nothing was ever appended."""
        return not self.path.is_file() or self.path.stat().st_size == 0


def now() -> str:
    """Return the UTC time as entries give it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(previous: str, text: str) -> str:
    return hashlib.sha256(f"{previous} {text}".encode()).hexdigest()
