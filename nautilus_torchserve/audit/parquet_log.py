"""A log in a folder of Parquet files, one folder a kind of record."""

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nautilus_torchserve.audit.arrow_tables import SCHEMAS, from_rows
from nautilus_torchserve.audit.chain import Chain, Entry, file_sha256, now
from nautilus_torchserve.audit.records import KINDS, LogFailed, R, Record, UnfitRecord
from nautilus_torchserve.audit.segment import (
    OPEN,
    PART,
    WHOLE,
    Segment,
    read_segment,
    roll_leftover,
    segment_name,
    write_part,
)
from nautilus_torchserve.files.lock import try_lock

MOST_ROWS = 100_000
MOST_BYTES = 64 << 20
LONGEST_S = 3600.0
"""A segment becomes a Parquet file at the first of these: records, bytes, seconds since it was begun."""
_log = logging.getLogger(__name__)


class ParquetLog:
    """Files ``<folder>/<kind>/<run>-<number>.parquet``, the newest of each kind still an Arrow stream, ``.arrows``.

    Several processes may write to one folder, each run to its own files; any number may read meanwhile. Not to be
    written by several threads. Which segments there are, and their hashes, is in the folder's chain, see
    `audit.chain`.

    Parameters
    ----------
    folder : Path
    most_rows : int
        Records in a file.
    """

    def __init__(self, folder: Path, most_rows: int = MOST_ROWS) -> None:
        self.name = str(folder)
        self._folder = folder
        self._chain = Chain(folder)
        self._most_rows = most_rows
        self._segments: dict[type[Record], Segment] = {}
        self._begun: dict[type[Record], float] = {}
        self._numbers: dict[type[Record], int] = {}

    def keep(self, records: Sequence[Record]) -> None:
        """Append records; see `audit.records.AuditLog.keep`."""
        kind = type(records[0])
        try:
            segment = self._segment(kind, records[0].run_id)
            segment.append(records)
        except OSError as error:
            if kind in self._segments and self._segments[kind].is_broken:
                self._segments.pop(kind).close()  # what is in it is read as it is; what follows goes into another one
            raise LogFailed(f"{self._folder}: expected a folder that can be written, got: {error}") from error
        except (ValueError, OverflowError, TypeError) as error:
            reason = f"{error}"[:200]
            raise UnfitRecord(f"{self._folder}: {kind.kind}: expected values that a file can hold: {reason}") from error
        too_old = time.monotonic() - self._begun[kind] > LONGEST_S
        if segment.rows >= self._most_rows or segment.bytes >= MOST_BYTES or too_old:
            self._roll(kind)

    def tidy(self) -> None:
        """Finish what crashed runs left; see `audit.records.AuditLog.tidy`."""
        leftovers = [path for kind in KINDS for path in sorted((self._folder / kind.kind).glob(f"*{OPEN}"))]
        try:
            entries = [line.entry for line in self._chain.lines() if line.entry is not None] if leftovers else []
        except OSError as error:
            _log.warning("%s: what crashed runs left stays as it is: %s", self._folder, error)
            return
        for path in leftovers:
            try:
                if roll_leftover(
                    path, self._chain, [entry for entry in entries if entry.segment == segment_name(path)]
                ):
                    _log.warning("%s: left by a run that did not end properly, is a Parquet file now", path)
            except (OSError, pa.ArrowException) as error:
                _log.warning("%s: stays as it is: %s", path, error)

    def read(self, kind: type[R], **equal: str | int) -> list[R]:
        """Return records; see `audit.records.AuditLog.read`."""
        try:
            tables = list(self._tables(kind, equal))
        except (OSError, pa.ArrowException, ValueError) as error:  # ValueError: a column of other values
            reason = f"{error}"[:200]
            raise LogFailed(f"{self._folder}: expected {kind.kind} that can be read, got: {reason}") from error
        table = pa.concat_tables([SCHEMAS[kind].empty_table(), *tables])
        return from_rows(kind, table.sort_by([("run_id", "ascending"), ("seq", "ascending")]).to_pylist())

    @property
    def last_hash(self) -> str | None:
        """See `audit.records.AuditLog.last_hash`."""
        return self._chain.last_hash

    def close(self) -> None:
        """Make Parquet files of all that is open."""
        for kind in list(self._segments):
            self._roll(kind)

    def _segment(self, kind: type[Record], run_id: str) -> Segment:
        if kind not in self._segments:
            folder = self._folder / kind.kind
            folder.mkdir(parents=True, exist_ok=True)
            self._begin_chain()
            number = self._numbers[kind] = self._numbers.get(kind, 0) + 1
            path = folder / f"{run_id}-{number:05d}{OPEN}"
            self._segments[kind] = Segment(path, kind, self._chain)
            self._begun[kind] = time.monotonic()
        return self._segments[kind]

    def _begin_chain(self) -> None:
        """Take what was written before logs had a chain into it, with its hashes as they are now."""
        if not self._chain.is_empty():
            return
        with self._chain.locked():
            if not self._chain.is_empty():  # another process was faster
                return
            adopted = [entry for kind in KINDS for entry in _existing(self._folder / kind.kind)]
            if adopted:
                self._chain.append(*adopted)
                _log.warning("%s: %d files from before it had a chain are in it now", self._folder, len(adopted))

    def _roll(self, kind: type[Record]) -> None:
        try:
            self._segments.pop(kind).roll()
        except OSError as error:
            _log.warning(
                "%s: the newest %s stay an Arrow stream, which is read as well: %s", self._folder, kind.kind, error
            )

    def _tables(self, kind: type[Record], equal: dict[str, str | int]) -> Iterator[pa.Table]:
        pattern = f"{equal.get('run_id', '')}*"
        condition = pc.scalar(True)
        for name, value in equal.items():
            condition &= pc.field(name) == value
        for path in self._files(kind, pattern):
            try:
                table = pq.read_table(path) if path.suffix == WHOLE else read_segment(path)
            except FileNotFoundError:  # became a Parquet file between the look and the reading
                table = pq.read_table(path.with_suffix(WHOLE))
            if table.num_rows:
                yield table.filter(condition).cast(SCHEMAS[kind])

    def _files(self, kind: type[Record], pattern: str) -> list[Path]:
        folder = self._folder / kind.kind
        streams = set(folder.glob(pattern + OPEN))  # first: one that becomes a Parquet file meanwhile is seen twice
        whole = set(folder.glob(pattern + WHOLE))
        return sorted(whole | {path for path in streams if path.with_suffix(WHOLE) not in whole})


def _existing(folder: Path) -> Iterator[Entry]:
    """Yield an entry for each file that runs without a chain have left, streams of crashed ones as Parquet files."""
    for path in sorted(folder.glob(f"*{OPEN}")):
        with path.open("rb") as file:
            if not try_lock(file):
                continue
            if not path.with_suffix(WHOLE).exists() and write_part(path):
                path.with_suffix(PART).rename(path.with_suffix(WHOLE))
            path.unlink()
    for path in sorted(folder.glob(f"*{WHOLE}")):
        rows = pq.read_metadata(path).num_rows
        yield Entry(
            event="adopted",
            segment=segment_name(path),
            at=now(),
            rows=rows,
            bytes=path.stat().st_size,
            sha256=file_sha256(path),
        )
