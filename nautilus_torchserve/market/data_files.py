"""Files of market data: paths, folders, globs and the members of archives; and where their rows stand in them."""

import bz2
import csv
import glob
import gzip
import io
import itertools
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.bad_data import BadData

SUFFIXES = (
    ".csv",
    ".txt",
    ".tsv",
    ".parquet",
    ".pq",
    ".feather",
    ".arrow",
    ".arrows",
    ".ipc",
    ".dbn",
    ".bi5",
    ".jsonl",
    ".ndjson",
)
"""Files of a folder or an archive that are read; each may be compressed, too."""
EMPTY = (".bi5",)
"""Suffixes of files that are left out of several if they are empty: an hour without ticks."""
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
"""Suffixes of compressed files."""


def _decompress_zstd(content: bytes) -> bytes:
    import pyarrow as pa  # a dependency of NautilusTrader, not of ours

    return bytes(pa.CompressedInputStream(pa.BufferReader(content), "zstd").read())


_DECOMPRESSION: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"\x28\xb5\x2f\xfd": _decompress_zstd,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
    b"\x5d\x00\x00": lzma.decompress,
}
"""First bytes of compressed content, however the file is named -> function that decompresses it."""
_UNREADABLE = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
    *(RuntimeError, NotImplementedError, ValueError),
)
"""Errors of reading what is damaged, encrypted or compressed in an unknown way."""


@dataclass(frozen=True)
class DataFile:
    """One file, or one member of an archive."""

    path: Path
    """The file."""
    member: str | None = None
    """Name of the member, if the file is an archive."""
    is_only_member: bool = True
    """Whether the archive has no other, and so goes by its own name."""

    @property
    def name(self) -> str:
        """Name for messages, which may also say what is in it."""
        return self.path.name if self.member is None or self.is_only_member else PurePosixPath(self.member).name

    @property
    def suffix(self) -> str:
        """Last suffix of its name in lower case, compression aside."""
        name = PurePosixPath(self.member or self.path.name)
        return PurePosixPath(name.stem if name.suffix.lower() in COMPRESSED else name).suffix.lower()

    @property
    def full_path(self) -> str:
        """Its path and, in an archive, that of the member, with ``/``."""
        return "/".join([self.path.absolute().as_posix(), *([self.member] if self.member else [])])

    def read(self) -> bytes:
        """Return its bytes, decompressed.

        Raises
        ------
        BadData
            It cannot be read.
        """
        try:
            if self.member is not None:
                with zipfile.ZipFile(self.path) as archive:
                    content = archive.read(self.member)
            else:
                content = self.path.read_bytes()
            decompress = next((_DECOMPRESSION[key] for key in _DECOMPRESSION if content.startswith(key)), bytes)
            return decompress(content)
        except ImportError:
            raise BadData(f"{self.name}: expected pyarrow to decompress Zstandard with: pip install pyarrow") from None
        except _UNREADABLE as error:
            raise BadData(f"{self.name}: expected a readable file, got unreadable data: {error}") from None


def data_files(data: Path) -> list[DataFile]:
    """Return the files that a path names, in order of their names: a file, an archive, a folder of these, or a glob.

    Raises
    ------
    BadData
        There are none, or an archive cannot be read.
    """
    if data.is_file():
        paths = [data]
    elif data.is_dir():
        paths = [path for path in sorted(data.iterdir()) if path.is_file() and _is_data(path.name)]
    else:
        names = glob.glob(str(data), recursive=True)  # noqa: PTH207, that of pathlib yields hidden files, too
        paths = [path for path in map(Path, sorted(names)) if path.is_file()]
    if paths != [data]:
        paths = [path for path in paths if path.suffix.lower() not in EMPTY or path.stat().st_size]
    return [file for path in paths for file in _members(path)]


def require_files(data: Path, what: str) -> list[DataFile]:
    """Return the files that a path names, `data_files`; refuse a path without any.

    Parameters
    ----------
    what : str
        What is to be read, for the message: ``trades``.

    Raises
    ------
    BadData
    """
    files = data_files(data)
    if not files:
        if data.is_dir():
            got = "a folder without any"
        elif data.exists():
            got = "neither a file nor a folder"
        else:
            got = "a pattern that no file matches" if glob.has_magic(str(data)) else "a path that does not exist"
        catalog = "" if what == "headlines" else f", or a NautilusTrader catalog with {what}"
        raise BadData(f"{data}: expected a file of {what}, a folder with such files{catalog}, got {got}")
    return files


def is_catalog(path: Path) -> bool:
    """Return whether a folder is laid out as a NautilusTrader catalog."""
    return (path / "data").is_dir()


def _is_data(name: str) -> bool:
    name = name.lower()
    plain = name
    for suffix in COMPRESSED:
        plain = plain.removesuffix(suffix)
    return not name.startswith(".") and (plain.endswith(SUFFIXES) or name.endswith(".zip"))


def _members(path: Path) -> Iterator[DataFile]:
    if path.suffix.lower() != ".zip":
        yield DataFile(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise BadData(f"{path.name}: expected a ZIP archive, got unreadable data: {error}") from None
    hidden = ("__MACOSX/", ".")
    members = [name for name in names if not name.startswith(hidden) and not PurePosixPath(name).name.startswith(".")]
    chosen = sorted(name for name in members if _is_data(name) and not name.lower().endswith(".zip")) or members
    if not chosen:
        raise BadData(f"{path.name}: expected an archive with a file of market data, got an empty one")
    for name in chosen:
        yield DataFile(path, name, len(chosen) == 1)


@dataclass(frozen=True)
class CsvRecords:
    """The records of one CSV file, to find the line of one when a message needs it."""

    file: DataFile
    """The file."""
    encoding: str
    """Its encoding."""
    delimiter: str
    """Its delimiter."""

    def line(self, record: int) -> int | None:
        """Return the line of a record, counted from 1 and 0; None if the file is no longer what it was."""
        try:
            return next((line for line, _ in itertools.islice(self._records(), record, None)), None)
        except (BadData, ValueError, csv.Error):
            return None

    def first_ragged(self, first: int) -> tuple[int, int, int] | None:
        """Return the line of the first record with another number of cells than record ``first``, and both numbers."""
        columns = None
        for line, cells in itertools.islice(self._records(), first, None):
            columns = len(cells) if columns is None else columns
            if len(cells) != columns:
                return line, columns, len(cells)
        return None

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each record and its line; blank lines are no records, and a quoted cell may span several lines."""
        line = 1
        with io.TextIOWrapper(io.BytesIO(self.file.read()), self.encoding, "replace", newline="") as text:
            reader = csv.reader(text, delimiter=self.delimiter, skipinitialspace=True)
            for cells in reader:
                if len(cells) > 1 or any(cell.strip() for cell in cells):
                    yield line, cells
                line = reader.line_num + 1


@dataclass(frozen=True, eq=False)
class FileRows:
    """Where rows of market data stand in the files that they were read from."""

    files: tuple[CsvRecords, ...]
    """The files."""
    file: NDArray[np.int32]
    """Index of each row's file [n]."""
    record: NDArray[np.int64]
    """Record of each row in its file, from 0, a header counted [n]."""

    @classmethod
    def of_file(cls, records: CsvRecords, first: int, count: int) -> "FileRows":
        """Return the rows of one file whose records begin with ``first``."""
        return cls((records,), np.zeros(count, dtype=np.int32), np.arange(first, first + count))

    @classmethod
    def concat(cls, parts: Sequence["FileRows"]) -> "FileRows":
        """Return the rows of several files one after the other."""
        starts = np.cumsum([0, *(len(part.files) for part in parts)]).tolist()
        return cls(
            tuple(records for part in parts for records in part.files),
            np.concatenate([part.file + start for part, start in zip(parts, starts, strict=False)]).astype(np.int32),
            np.concatenate([part.record for part in parts]),
        )

    def take(self, rows: NDArray[np.int64] | slice) -> "FileRows":
        """Return the rows at these positions."""
        return FileRows(self.files, self.file[rows], self.record[rows])

    def line(self, row: int) -> int | None:
        """Return the line of a row in its file, from 1 as in an editor; None if unknown."""
        return self.files[self.file[row]].line(int(self.record[row]))

    def place(self, row: int) -> str | None:
        """Return the line of a row, after the name of its file where there are several; None if unknown."""
        line = self.line(row)
        file = f"{self.files[self.file[row]].file.name}, " if len(self.files) > 1 else ""
        return None if line is None else f"{file}line {line}"
