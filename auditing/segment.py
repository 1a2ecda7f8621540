"""A piece of a log that is being written: an Arrow stream, until it is whole and becomes a Parquet file.

A Parquet file can be read only once its end has been written; of an Arrow stream that breaks off, all whole batches
can. Whoever writes a segment holds a lock on it, which ends with the process, however that ends.
"""

import fcntl
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from auditing.arrow_tables import arrow_schema, as_batch
from auditing.records import Record

OPEN, WHOLE = ".arrows", ".parquet"
"""Suffixes of a segment that is being written, and of one that is done."""
CHUNK = 64
"""Records that are made a batch at a time: some 0.6 ms in which no other thread of this process can work."""
_log = logging.getLogger(__name__)


class Segment:
    """A new segment, of this process alone.

    Parameters
    ----------
    path : Path
        Where; nothing may be there yet.
    kind : type
        Of the records.

    Raises
    ------
    OSError
        It cannot be written there.
    """

    def __init__(self, path: Path, kind: type[Record]) -> None:
        self._path = path
        self._file = path.open("xb", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # before there is anything in it: see `roll_leftover`
        self._stream = pa.ipc.new_stream(self._file, arrow_schema(kind))
        self._durable = 0
        self.rows = 0
        """Records in it."""
        _sync_folder(path.parent)

    @property
    def bytes(self) -> int:
        """Its size on the disk."""
        return self._durable

    def append(self, records: Sequence[Record]) -> None:
        """Write records and wait until the disk has them.

        Raises
        ------
        OSError
            It does not; none of them is in the segment, and no more can be appended.
        """
        try:
            for start in range(0, len(records), CHUNK):
                self._stream.write_batch(as_batch(records[start : start + CHUNK]))
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._durable)
            self._file.close()
            raise
        self._durable = self._file.tell()
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
            os.fsync(self._file.fileno())
            _make_whole(self._path)
        finally:
            self._file.close()  # and with it the lock


def read_segment(path: Path) -> pa.Table:
    """All whole batches of a segment, whether its writer has ended properly, crashed, or goes on.

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


def roll_leftover(path: Path) -> bool:
    """Make a Parquet file of a segment whose writer has crashed; False where it is still being written.

    Raises
    ------
    OSError
        The Parquet file cannot be written; the segment stays.
    """
    if not path.stat().st_size:
        return False  # its writer has not come to lock it, or never will
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if path.exists():  # nobody else was faster
            _make_whole(path)
    return True


def _make_whole(path: Path) -> None:
    whole, part = path.with_suffix(WHOLE), path.with_suffix(".part")
    if not whole.exists():  # else the crash was between the last two steps
        table = read_segment(path)
        if table.num_rows:
            with part.open("wb") as file:
                pq.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            part.rename(whole)
            _sync_folder(path.parent)
    path.unlink()


def _sync_folder(folder: Path) -> None:
    """Wait until the disk knows the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
