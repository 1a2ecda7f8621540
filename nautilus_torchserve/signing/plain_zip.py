"""Zip files in which nothing is hidden: whoever unpacks one gets the same members.

A zip file says twice what it holds: in a header before each member and in the central directory at its end.
Python reads the directory, Java's ``ZipInputStream`` (TorchServe) reads the headers, and one file can be made to
show each of them something else. So nothing is left to interpretation here: both must say the same, without a
byte before, between or after them that they do not account for.

The format: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 (records) and 4.5.3 (ZIP64).
"""

import re
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import SEEK_END
from typing import BinaryIO, NoReturn
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from nautilus_torchserve.user_error import UserError

MOST_BYTES = 4 << 30
"""Most that an archive may unpack to, and be long itself."""
MOST_MEMBERS = 10_000
"""Most members of an archive."""
_MOST_DIRECTORY_BYTES = 4 << 20
_PIECE = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@, -]*(/[A-Za-z0-9_][A-Za-z0-9_.+=@, -]*)*")
"""Letters that every file system and every reader take for the same: no ``..``, no backslash, no control character."""
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
_ZIP64_VERSION = 45
"""The version of the format that a reader needs for ZIP64; more is needed for what we refuse only."""
_HARMLESS_FLAGS = 0b1000_0000_0110
"""Bits for the compression level and for a UTF-8 name; not those for encryption, or for sizes after the content."""


class NotPlain(UserError, ValueError):
    """A file that is no zip file, or one in which something is hidden or damaged; says what and where."""


@dataclass(frozen=True)
class Member:
    """One file in a zip file."""

    name: str
    compression: int
    """`ZIP_STORED` or `ZIP_DEFLATED`."""
    crc: int
    """CRC-32 of its content."""
    packed: int
    """Bytes in the zip file."""
    size: int
    """Bytes unpacked, as declared; `read_member` gives no more."""
    begins: int
    """Place in the zip file where its content begins."""


def list_members(file: BinaryIO, most_bytes: int = MOST_BYTES) -> list[Member]:
    """Return the members in their order, once all parts of a zip file agree.

    Parameters
    ----------
    most_bytes : int
        Most that the members may declare in all, and the file be long.

    Raises
    ------
    NotPlain
    """
    directory, begins, count = _central_directory(file, most_bytes)
    members: list[Member] = []
    at, ends = 0, 0
    for _ in range(count):
        member, at = _member(file, directory, at, ends)
        members.append(member)
        ends = member.begins + member.packed
    if at != len(directory):
        _refuse(f"expected {len(directory)} bytes of central directory for {count} members, got {at}")
    if ends != begins:
        _refuse(f"expected the central directory at byte {ends}, after the last member, got it at {begins}")
    _check_names([member.name for member in members])
    size = sum(member.size for member in members)
    if size > most_bytes:
        _refuse(f"expected at most {most_bytes:,} bytes unpacked, got {size:,}")
    return members


def read_member(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield a member's content in pieces: the declared content, or an error before the last piece.

    Raises
    ------
    NotPlain
        Other content than declared: longer, shorter, with another checksum, or something hidden behind it.
    """
    file.seek(member.begins)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.compression == ZIP_DEFLATED else None
    remaining, size, crc = member.packed, 0, 0
    while remaining:
        packed = file.read(min(remaining, _PIECE))
        if not packed:
            _refuse(f"{member.name}: expected {remaining} more bytes, got the file's end")
        remaining -= len(packed)
        try:
            piece = packed if inflate is None else inflate.decompress(packed)
        except zlib.error as error:
            raise NotPlain(f"{member.name}: damaged: {error}") from None
        size, crc = size + len(piece), zlib.crc32(piece, crc)
        if size > member.size:
            _refuse(f"{member.name}: expected {member.size} bytes, as declared, got more")
        yield piece
    if inflate is not None and (not inflate.eof or inflate.unused_data):
        _refuse(f"{member.name}: expected compressed content of {member.packed} bytes, got another length")
    if size != member.size or crc != member.crc:
        _refuse(
            f"{member.name}: damaged: expected {member.size} bytes with checksum {member.crc:08x}, "
            f"got {size} with {crc:08x}"
        )


def write_member(out: ZipFile, name: str, pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Write a member of ``size`` bytes while its pieces are gone through: they come out as they went in."""
    info = ZipInfo(name)
    info.compress_type = out.compression
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.file_size = size  # decides whether it needs ZIP64
    with out.open(info, "w") as writer:
        for piece in pieces:
            writer.write(piece)
            yield piece


def _refuse(reason: str) -> NoReturn:
    raise NotPlain(reason)


def _read(file: BinaryIO, at: int, record: struct.Struct) -> tuple:
    file.seek(at)
    data = file.read(record.size)
    if len(data) != record.size:
        _refuse(f"expected {record.size} bytes at {at}, got the file's end")
    return record.unpack(data)


def _central_directory(file: BinaryIO, most_bytes: int) -> tuple[bytes, int, int]:
    """Return the central directory, its place, and the number of its members."""
    length = file.seek(0, SEEK_END)
    if length > most_bytes:
        _refuse(f"expected at most {most_bytes:,} bytes, got {length:,}")
    ends = length - _END.size
    if ends < 0:
        _refuse(f"expected a zip file, got {length} bytes")
    magic, *disks, here, count, size, begins, comment = _read(file, ends, _END)
    if magic != b"PK\5\6" or comment or disks != [0, 0] or here != count:
        _refuse("expected a zip file that ends with its central directory, got another file, or something follows")
    if ends >= _LOCATOR_64.size and _read(file, ends - _LOCATOR_64.size, _LOCATOR_64)[0] == b"PK\6\7":
        record = (count, size, begins)
        ends, (count, size, begins) = _end_64(file, ends - _LOCATOR_64.size)
        full = (_FULL_16, _FULL_32, _FULL_32)
        if any(
            short not in (long, most) for short, long, most in zip(record, (count, size, begins), full, strict=True)
        ):
            _refuse(f"expected one central directory, got {record} and {(count, size, begins)} (members, bytes, place)")
    if begins + size != ends:
        _refuse(f"expected the central directory's end at byte {ends}, got {begins + size}")
    if count > MOST_MEMBERS or size > _MOST_DIRECTORY_BYTES:
        _refuse(f"expected at most {MOST_MEMBERS:,} members, got {count:,} in a directory of {size:,} bytes")
    file.seek(begins)
    return file.read(size), begins, count


def _end_64(file: BinaryIO, locator: int) -> tuple[int, tuple[int, int, int]]:
    """Return where ZIP64's end of the central directory is, and the directory's members, bytes and place."""
    _, disk, at, disks = _read(file, locator, _LOCATOR_64)
    if (disk, disks) != (0, 1) or at + _END_64.size != locator:
        _refuse(f"expected the ZIP64 record before its locator at byte {locator}, got it at {at}")
    magic, length, _, _, *disks_64, here, count, size, begins = _read(file, at, _END_64)
    if magic != b"PK\6\6" or length != _END_64.size - 12 or disks_64 != [0, 0] or here != count:
        _refuse(f"expected a ZIP64 record of {_END_64.size} bytes at {at}, got another")
    return at, (count, size, begins)


def _member(file: BinaryIO, directory: bytes, at: int, begins: int) -> tuple[Member, int]:
    """Return the member in the directory at ``at`` with its header at ``begins``, and the place of the next."""
    if len(directory) < at + _CENTRAL.size:
        _refuse("expected a central directory as long as its members, got one that is cut off")
    entry = _CENTRAL.unpack_from(directory, at)
    magic, _, needs, flags, compression, _, _, crc, packed, size = entry[:10]
    name_bytes, extra_bytes, comment_bytes, disk, _, attributes, place = entry[10:]
    at += _CENTRAL.size
    raw, extra = directory[at : at + name_bytes], directory[at + name_bytes : at + name_bytes + extra_bytes]
    name = raw.decode("ascii", "backslashreplace")
    if magic != b"PK\1\2" or len(raw) + len(extra) != name_bytes + extra_bytes:
        _refuse(f"expected a member's entry in the central directory, got none after {at - _CENTRAL.size} bytes")
    if not _NAME.fullmatch(name):
        _refuse(f"expected a member's name of plain letters, digits and _ . - + = @, got {name!r}")
    if comment_bytes or disk or not _is_usual(needs, flags, compression):
        _refuse(f"{name}: expected content stored or deflated, without encryption, late sizes and comments, got other")
    if stat.S_IFMT(attributes >> 16) not in (0, stat.S_IFREG):
        _refuse(f"{name}: expected a file, got a link or something else (mode {attributes >> 16:o})")
    size, packed, place = _widened(name, (size, packed, place), extra)
    if place != begins:
        _refuse(f"{name}: expected its header at byte {begins}, where the one before it ends, got it at {place}")
    header = _local_header(file, begins)
    if header[:-1] != (flags, compression, crc, size, packed, raw):
        _refuse(f"{name}: expected a header that agrees with the central directory, got another")
    return Member(name, compression, crc, packed, size, header[-1]), at + name_bytes + extra_bytes


def _local_header(file: BinaryIO, at: int) -> tuple[int, int, int, int, int, bytes, int]:
    """Return flags, compression, checksum, sizes and name of the header at ``at``, and where its content begins."""
    magic, needs, flags, compression, _, _, crc, packed, size, name_bytes, extra_bytes = _read(file, at, _LOCAL)
    if magic != b"PK\3\4" or not _is_usual(needs, flags, compression):
        _refuse(f"expected a usual member's header at byte {at}, got none")
    raw, extra = file.read(name_bytes), file.read(extra_bytes)
    size, packed = _widened(raw.decode("ascii", "backslashreplace"), (size, packed), extra)
    return flags, compression, crc, size, packed, raw, at + _LOCAL.size + name_bytes + extra_bytes


def _is_usual(needs: int, flags: int, compression: int) -> bool:
    return needs <= _ZIP64_VERSION and not flags & ~_HARMLESS_FLAGS and compression in (ZIP_STORED, ZIP_DEFLATED)


def _widened(name: str, values: tuple[int, ...], extra: bytes) -> tuple[int, ...]:
    """Return sizes and places, those that need more than 32 bits from the ZIP64 field, the only one allowed."""
    wide = [index for index, value in enumerate(values) if value == _FULL_32]
    expected = struct.pack("<HH", 1, 8 * len(wide)) if wide else b""
    if extra[:4] != expected or len(extra) != (4 + 8 * len(wide) if wide else 0):
        _refuse(f"{name}: expected no extra fields but those of ZIP64, got {extra[:40].hex()}")
    widened = list(values)
    for index, value in zip(wide, struct.unpack(f"<{len(wide)}Q", extra[4:]), strict=True):
        widened[index] = value
    return tuple(widened)


def _check_names(names: list[str]) -> None:
    """Refuse what would overwrite something else on some file system, or what a worker's digest would not see."""
    seen: dict[str, str] = {}
    for name in names:
        if "__pycache__" in name.lower().split("/"):
            _refuse(f"{name}: expected no __pycache__ (a worker's digest leaves it out), got one")
        if name.lower() in seen:
            _refuse(f"{name}: expected every member once, in upper or lower case, got it again")
        seen[name.lower()] = name
        for end in (index for index, letter in enumerate(name) if letter == "/"):
            folder = name[:end] + "/"
            before = seen.setdefault(name[:end].lower(), folder)
            if before != folder:
                _refuse(f"{name}: expected {name[:end]} as one folder, in the same case, got {before}")
