"""Records on their way to the log: taken at once, written by a thread of its own."""

import logging
import threading
import time
from collections import deque

from nautilus_torchserve.audit.records import AuditLog, LogFailed, Record, UnfitRecord

MOST_RECORDS = 50_000
_BATCH = 5_000
_log = logging.getLogger(__name__)


class Writer:
    """Writes records to a log at intervals, in a thread of its own; `add` never waits for the log.

    While the log takes nothing, records wait here. Beyond ``most`` the oldest of their kind are dropped; that is
    logged and counted, and their sequence numbers are missing from the log.

    Parameters
    ----------
    log : AuditLog
        Closed by `close`; nobody else may write to it meanwhile.
    every_s : float
        Between two writings, seconds: what a crash costs at most, but for the writing itself.
    most : int
        Records of one kind that may wait.
    """

    def __init__(self, log: AuditLog, every_s: float, most: int = MOST_RECORDS) -> None:
        self.log = log
        self._every_s = every_s
        self._most = most
        self._lock = threading.Lock()  # of the queues
        self._waiting: dict[type[Record], deque[Record]] = {}
        self._failed: LogFailed | None = None
        self._ended = False
        self._batch = _BATCH
        self._wake = threading.Event()
        self.dropped = 0
        """Records that the log lacks: dropped while too many waited, refused by the log, or left at the end."""
        self.dropped_since_ns: int | None = None
        """Time of the earliest of them, by the run's clock, Unix ns; None: there are none."""
        self.why = ""
        """Reason why the first of them was not written."""
        self._thread = threading.Thread(target=self._write_until_closed, daemon=True, name="audit writer")
        self._thread.start()

    def add(self, record: Record) -> None:
        """Take a record; never waits for the log."""
        with self._lock:
            queue = self._waiting.setdefault(type(record), deque())
            queue.append(record)
            self._drop_beyond_room(queue)

    def wake(self) -> None:
        """Have what is waiting written now, without waiting for it."""
        self._wake.set()

    def close(self) -> int:
        """Write what is waiting, end and close the log; return how many records it did not take, also logged."""
        self._ended = True
        self._wake.set()
        self._thread.join()
        self.log.close()
        lost = [record for queue in self._waiting.values() for record in queue]
        self._waiting.clear()
        for record in lost:
            self._drop(record, f"{self._failed}")
        if lost:
            _log.error("%s: %d records are lost: %s", self.log.name, len(lost), self._failed)
        return len(lost)

    def _write_until_closed(self) -> None:
        try:
            self._tidy_and_write()
        except BaseException as error:
            self._failed = LogFailed(f"a bug: {type(error).__name__}: {error}"[:200])
            raise  # into the log; what is still added is counted as lost at the end

    def _tidy_and_write(self) -> None:
        self.log.tidy()
        while not self._ended:
            began = time.monotonic()
            self._wake.clear()
            self._write()
            if not self._ended:
                self._wake.wait(max(0.0, began + self._every_s - time.monotonic()))
        self._write()

    def _write(self) -> None:
        with self._lock:
            queues = list(self._waiting.values())
        for queue in queues:
            while batch := self._taken(queue):
                try:
                    self.log.keep(batch)
                except UnfitRecord as error:
                    self._separate(queue, batch, error)
                except LogFailed as error:
                    self._put_back(queue, batch)
                    self._begin_outage(error)
                    return
                else:
                    self._batch = min(_BATCH, 2 * self._batch)
        self._end_outage()

    def _separate(self, queue: deque[Record], batch: list[Record], error: UnfitRecord) -> None:
        """Halve batches until the record that cannot be written is alone, and drop it."""
        self._batch = max(1, len(batch) // 2)
        if len(batch) > 1:
            self._put_back(queue, batch)
            return
        _log.error("%s: a record is lost: %s", self.log.name, error)
        with self._lock:
            self._drop(batch[0], f"{error}")

    def _taken(self, queue: deque[Record]) -> list[Record]:
        with self._lock:
            return [queue.popleft() for _ in range(min(len(queue), self._batch))]

    def _put_back(self, queue: deque[Record], batch: list[Record]) -> None:
        with self._lock:
            queue.extendleft(reversed(batch))
            self._drop_beyond_room(queue)

    def _drop_beyond_room(self, queue: deque[Record]) -> None:
        while len(queue) > self._most:
            self._drop(queue.popleft(), f"{self._failed or f'more than {self._most} records of a kind waited'}")
            if self.dropped == 1 or self.dropped % self._most == 0:
                _log.error(
                    "%s: %d records dropped so far, %d of a kind wait for it", self.log.name, self.dropped, self._most
                )

    def _drop(self, record: Record, why: str) -> None:
        self.dropped += 1
        self.why = self.why or why
        since_ns = self.dropped_since_ns
        self.dropped_since_ns = record.ts_ns if since_ns is None else min(since_ns, record.ts_ns)

    def _begin_outage(self, error: LogFailed) -> None:
        if self._failed is None:
            _log.error("The run goes on without its audit log: %s", error)
        self._failed = error

    def _end_outage(self) -> None:
        if self._failed is not None:
            _log.warning("%s: the audit log takes records again; %d were dropped", self.log.name, self.dropped)
        self._failed = None
