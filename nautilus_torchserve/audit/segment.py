"""A piece of a log that is being written: an Arrow stream, until it is whole and becomes a Parquet file.

A Parquet file can be read only once its end has been written; of an Arrow stream that breaks off, all whole batches
can. Its writer holds a lock on it, which ends with the process, however that ends. Its beginning and its end are in the
folder's chain, and the hash of its bytes so far in a sidecar: see `audit.chain`.
"""

import errno
import hashlib
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from nautilus_torchserve.audit.arrow_tables import SCHEMAS, as_batch
from nautilus_torchserve.audit.chain import Chain, Entry, file_sha256, now
from nautilus_torchserve.audit.records import Record
from nautilus_torchserve.files.atomic_file import sync_folder
from nautilus_torchserve.files.lock import try_lock

OPEN, WHOLE, PART = ".arrows", ".parquet", ".part"
"""Suffixes of a segment that is being written, of one that is done, and of one that is becoming a Parquet file."""
CHUNK = 64
"""Records that are made a batch at a time: some 0.6 ms in which no other thread of this process can work."""
_CONFIRMED = "written"
_log = logging.getLogger(__name__)


class Segment:
    """A new segment, of this process alone.

    Parameters
    ----------
    path : Path
        Where; nothing may be there yet.
    kind : type
        Of the records.
    chain : Chain
        Of the log's folder.

    Raises
    ------
    OSError
        It cannot be written there.

    Attributes
    ----------
    rows : int
        Records in it.
    is_broken : bool
        Whether no more can be appended.
    """

    def __init__(self, path: Path, kind: type[Record], chain: Chain) -> None:
        self._path, self._chain = path, chain
        self._hash = hashlib.sha256()
        self._pending = _PendingBytes()
        self._stream = pa.ipc.new_stream(pa.PythonFile(self._pending, mode="w"), SCHEMAS[kind])
        self._durable = self._durable_sizes = self.rows = 0
        self.is_broken = False
        with chain.locked():
            self._begin()

    def _begin(self) -> None:
        """Make the files and name them in the chain."""
        path, chain = self._path, self._chain
        self._file = path.open("xb", buffering=0)
        try:
            if not try_lock(self._file):  # before there is anything in it: `roll_leftover`
                raise BlockingIOError(errno.EWOULDBLOCK, "locked by another process", f"{path}")
            self._sizes = chain.sizes_of(segment_name(path)).open("xb", buffering=0)
            self._commit()
            sync_folder(path.parent)
            sync_folder(chain.path.parent)
            chain.append(Entry(event="begun", segment=segment_name(path), at=now()))
        except OSError:
            self._file.close()
            _remove(path, chain)
            raise

    @property
    def bytes(self) -> int:
        """Its size on the disk."""
        return self._durable

    def append(self, records: Sequence[Record]) -> None:
        """Write records and wait until the disk has them.

        Raises
        ------
        OSError
            It does not; none of them is in the segment.
        ValueError, OverflowError, TypeError
            One of them has a value that its column cannot hold; none of them is in the segment.
        """
        batches = [as_batch(records[start : start + CHUNK]) for start in range(0, len(records), CHUNK)]
        for batch in batches:
            self._stream.write_batch(batch)
        self._commit()
        self.rows += len(records)

    def roll(self) -> None:
        """End it, and make it a Parquet file.

        Raises
        ------
        OSError
            That cannot be written; the segment stays, and is read as it is.
        """
        try:
            self._stream.close()
            self._commit()
            _make_whole(self._path, self._chain)
        finally:
            self.close()

    def close(self) -> None:
        """Close the files as they are and release the lock."""
        self._file.close()
        self._sizes.close()

    def _commit(self) -> None:
        """Write what is pending to the disk; its hash first and that it is there last, both to the sidecar."""
        data = self._pending.take()
        digest = self._hash.copy()
        digest.update(data)
        size = self._durable + len(data)
        line, confirmation = f"{size} {digest.hexdigest()}\n".encode(), f"{_CONFIRMED}\n".encode()
        try:
            if not os.fstat(self._file.fileno()).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "removed while it was written", f"{self._path}")
            _write_all(self._sizes, line)
            _write_all(self._file, data)
            os.fsync(self._file.fileno())
            _write_all(self._sizes, confirmation)
            os.fsync(self._sizes.fileno())
        except OSError as error:
            self._take_back(is_removed=isinstance(error, FileNotFoundError))
            raise
        self._hash, self._durable, self._durable_sizes = digest, size, self._sizes.tell()

    def _take_back(self, is_removed: bool) -> None:
        """Make files that were written in part what they were before."""
        self.is_broken = True
        for file, size in ((self._file, self._durable), (self._sizes, self._durable_sizes)):
            file.truncate(size)
            file.seek(size)
        self.is_broken = is_removed


class _PendingBytes(io.BytesIO):
    """Bytes that Arrow has written and the disk has not."""

    def take(self) -> bytes:
        data = self.getvalue()
        self.seek(0)
        self.truncate()
        return data


def segment_name(path: Path) -> str:
    """Return a segment's name in the chain, ``fills/<run>-<number>``."""
    return f"{path.parent.name}/{path.name.removesuffix(path.suffix)}"


def read_segment(path: Path) -> pa.Table:
    """Return all whole batches of a segment, whether its writer has ended properly, crashed, or goes on.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        batches: list[pa.RecordBatch] = []
        try:
            stream = pa.ipc.open_stream(file)
        except pa.ArrowInvalid:
            return pa.table({})  # broken off within the schema: there were no records yet
        try:
            for batch in stream:
                batches.append(batch)
        except (pa.ArrowInvalid, OSError) as error:
            _log.info("%s: breaks off after %d batches: %s", path, len(batches), error)
        return pa.Table.from_batches(batches, stream.schema)


class StreamCheck(NamedTuple):
    """The comparison of a stream with its sidecar."""

    expected: str = ""
    """Expected value where a stream differs from its sidecar; empty where they agree."""
    got: str = ""
    is_truncated: bool = False
    is_confirmed: bool = True
    """Whether its last records were confirmed to be on the disk; False after a crash while they were written."""


def check_stream(path: Path, sizes: Path, is_written: bool = False) -> StreamCheck:
    """Compare a stream with its sidecar.

    Parameters
    ----------
    is_written : bool
        Whether its writer lives: then the sidecar may be ahead of it.

    Raises
    ------
    OSError
        One of them cannot be read.
    """
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        present = os.fstat(file.fileno()).st_size  # before the sidecar, which is written first
        lines = sizes.read_text("ascii", "replace").split("\n")
        if lines.pop() and not is_written:
            return StreamCheck("a sidecar that ends with a line", f"{sizes.name} that breaks off", is_truncated=True)
        for number in range(0, len(lines), 2):  # what is going to be written, and that it was
            size_text, _, expected = lines[number].partition(" ")
            size = int(size_text) if size_text.isascii() and size_text.isdigit() and len(size_text) < 16 else -1
            is_last, is_confirmed = number + 2 >= len(lines), lines[number + 1 : number + 2] == [_CONFIRMED]
            if size < done or len(expected) != 64 or size_text != f"{size}" or not (is_confirmed or is_last):
                return StreamCheck("lines of a size and a hash", f"{sizes.name}:{number + 1}: {lines[number][:80]!r}")
            if number + 1 < len(lines) and not is_confirmed:
                return StreamCheck(_CONFIRMED, f"{sizes.name}:{number + 2}: {lines[number + 1][:80]!r}")
            if size > present and is_written:
                return StreamCheck()
            if size > present and not is_confirmed and present == done:
                return StreamCheck(is_confirmed=False)
            if size > present:
                return StreamCheck(f"{size} bytes", f"{present} bytes", is_truncated=True)
            digest.update(file.read(size - done))
            if digest.hexdigest() != expected:
                return StreamCheck(f"SHA-256 {expected[:64]} of the first {size} bytes", digest.hexdigest())
            done = size
    if done != present and not is_written:
        return StreamCheck(f"{done} bytes", f"{present} bytes")
    return StreamCheck(is_confirmed=len(lines) % 2 == 0 or is_written)


def is_written(path: Path) -> bool:
    """Return whether a live process holds a segment's lock."""
    with path.open("rb") as file:
        return not try_lock(file, shared=True)


def roll_leftover(path: Path, chain: Chain, entries: Sequence[Entry]) -> bool:
    """Make a Parquet file of a segment whose writer has crashed; return False where it is still being written.

    A segment that does not agree with the chain is left as it is: `audit.verification` names it.

    Parameters
    ----------
    entries : sequence of Entry
        Of the chain, as far as they are about this segment.

    Raises
    ------
    OSError
        The Parquet file cannot be written, or the segment does not agree with the chain; it stays.
    """
    if not path.stat().st_size:
        return False  # its writer has not come to lock it, or never will
    with path.open("rb") as file:
        if not try_lock(file):
            return False
        if path.exists():  # no other process was faster
            _roll_left(path, chain, entries)
    return True


def _roll_left(path: Path, chain: Chain, entries: Sequence[Entry]) -> None:
    ended = next((entry for entry in entries if entry.event == "ended"), None)
    if ended is not None:  # the crash was after the last entry
        whole, part = path.with_suffix(WHOLE), path.with_suffix(PART)
        if ended.rows and not whole.exists():
            if not part.exists() or file_sha256(part) != ended.sha256:
                raise OSError(f"{path}: expected {part.name} with SHA-256 {ended.sha256}, got none")
            part.rename(whole)
        _remove(path, chain)
    elif not entries:
        if read_segment(path).num_rows:
            raise OSError(f"{path}: expected an entry of this segment in {chain.path}, got none")
        _remove(path, chain)  # the crash was before its first record
    elif (check := check_stream(path, chain.sizes_of(segment_name(path)))).expected:
        raise OSError(f"{path}: expected {check.expected}, got {check.got}")
    else:
        _make_whole(path, chain)


def _make_whole(path: Path, chain: Chain) -> None:
    """Write a segment's Parquet file, end it in the chain, put the file in its place."""
    rows, part = write_part(path), path.with_suffix(PART)
    entry = Entry(event="ended", segment=segment_name(path), at=now())
    if rows:
        entry = msgspec.structs.replace(entry, rows=rows, bytes=part.stat().st_size, sha256=file_sha256(part))
    with chain.locked():
        chain.append(entry)
        if rows:
            part.rename(path.with_suffix(WHOLE))
            sync_folder(path.parent)
        _remove(path, chain)


def write_part(path: Path) -> int:
    """Write a stream's records to a Parquet file beside it, ``.part``; return how many, 0 where there is no file.

    Raises
    ------
    OSError
        It cannot be written; there is no file.
    """
    table, part = read_segment(path), path.with_suffix(PART)
    if table.num_rows:
        try:
            with part.open("wb") as file:
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            part.unlink(missing_ok=True)  # a full disk needs the space
            raise
    return table.num_rows


def _remove(path: Path, chain: Chain) -> None:
    path.unlink(missing_ok=True)
    chain.sizes_of(segment_name(path)).unlink(missing_ok=True)


def _write_all(file: io.FileIO, data: bytes) -> None:
    """Write all of it: a disk that becomes full takes a part."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]
