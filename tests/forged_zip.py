"""Zip files with every record written by hand, as an attacker makes them so that readers disagree."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

REGULAR = 0o100644 << 16


@dataclass(frozen=True)
class Entry:
    """A member of a zip file; well-formed where only name and data are given."""

    name: str
    data: bytes
    packed: bytes | None = None
    """Its bytes in the file; None: ``data``, stored."""
    deflated: bool = False
    local_name: str | None = None
    """Its name in the local header."""
    listed: bool = True
    """Whether the central directory names it."""
    size: int | None = None
    """Its length as the headers give it."""
    crc: int | None = None
    flags: int = 0
    attributes: int = REGULAR
    extra: bytes = b""
    comment: bytes = b""
    before: bytes = b""
    """Bytes before its header that no record accounts for."""


def entries_of(archive: Path) -> list[Entry]:
    """Return an archive's members."""
    with ZipFile(archive) as members:
        return [Entry(info.filename, members.read(info)) for info in members.infolist()]


def deflate(data: bytes) -> bytes:
    """Return the raw deflate stream, as in a zip file."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def forge(
    path: Path,
    entries: Sequence[Entry],
    *,
    gap: bytes = b"",
    after: bytes = b"",
    comment: bytes = b"",
    count: int | None = None,
    comment_bytes: int | None = None,
) -> Path:
    """Write a zip file; ``gap`` lies before the central directory, ``after`` at the end; counts may be false."""
    body, directory, listed = b"", b"", 0
    for entry in entries:
        body += entry.before
        at, packed = len(body), entry.data if entry.packed is None else entry.packed
        name, local = entry.name.encode(), (entry.local_name or entry.name).encode()
        method = ZIP_DEFLATED if entry.deflated else ZIP_STORED
        size = len(entry.data) if entry.size is None else entry.size
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        header = (entry.flags, method, 0, 33, crc, len(packed), size)
        body += struct.pack("<4s5H3I2H", b"PK\3\4", 20, *header, len(local), 0) + local + packed
        if entry.listed:
            listed += 1
            tail = (len(name), len(entry.extra), len(entry.comment), 0, 0, entry.attributes, at)
            directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", (3 << 8) | 20, 20, *header, *tail)
            directory += name + entry.extra + entry.comment
    count = listed if count is None else count
    begins = len(body) + len(gap)
    comment_length = len(comment) if comment_bytes is None else comment_bytes
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), begins, comment_length)
    path.write_bytes(body + gap + directory + end + comment + after)
    return path
