"""Records on their way to a store: queued at once, written in batches, and queued through an outage of the store."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from nautilus_torchserve.user_error import UserError

MOST_RECORDS = 100_000
Record = TypeVar("Record")
_log = logging.getLogger(__name__)


class Backlog(Generic[Record]):
    """Queues records, and writes them at `flush`; safe to use from several threads.

    While the store cannot be reached they stay queued. Beyond ``most`` the oldest are dropped, and that is logged.
    A batch whose commit was not confirmed is written again: it may be there twice, never not at all.

    Parameters
    ----------
    write : callable
        Writes records of one type; returns how many of them, from the first on, are done with. Raises a `UserError`
        where the store cannot be reached.
    owner : str
        What the records are, for messages.
    most : int
        Largest number of queued records of one type.
    batch : int
        Largest number of records to write at once.
    """

    def __init__(
        self, write: Callable[[list[Record]], int], owner: str, most: int = MOST_RECORDS, batch: int = 1_000
    ) -> None:
        self._write, self._owner = write, owner
        self._most, self._batch = most, batch
        self._lock = threading.Lock()  # of the queues
        self._flushing = threading.Lock()  # one thread at a time writes
        self._queues: dict[type[Record], deque[Record]] = {}
        self.dropped = 0
        """Records that the store will never have."""
        self.failure: UserError | None = None
        """Error of the last flush; None where it succeeded."""

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._queues.values()))

    def add(self, *records: Record) -> None:
        """Queue records; never waits for the store."""
        with self._lock:
            for record in records:
                queue = self._queues.setdefault(type(record), deque())
                queue.append(record)
                self._drop_oldest(queue)

    def flush(self) -> None:
        """Write all queued records to the store.

        Raises
        ------
        UserError
            It took none, or not all; the others stay queued.
        """
        with self._flushing:
            with self._lock:
                queues = list(self._queues.values())
            try:
                for queue in queues:
                    while batch := self._take(queue):
                        self._write_batch(queue, batch)
            except UserError as error:
                self.failure = error
                raise
            self.failure = None

    def _write_batch(self, queue: deque[Record], batch: list[Record]) -> None:
        done = 0
        try:
            done = self._write(batch)
        finally:
            with self._lock:
                queue.extendleft(reversed(batch[done:]))
                self._drop_oldest(queue)

    def _take(self, queue: deque[Record]) -> list[Record]:
        with self._lock:
            return [queue.popleft() for _ in range(min(len(queue), self._batch))]

    def _drop_oldest(self, queue: deque[Record]) -> None:
        while len(queue) > self._most:
            self._drop(queue.popleft(), f"{self.failure or f'more than {self._most} records of a kind were queued'}")
            if self.dropped == 1 or self.dropped % self._most == 0:
                _log.error("%s: %d records dropped so far, %d of a kind wait", self._owner, self.dropped, self._most)

    def _drop(self, record: Record, reason: str) -> None:
        """Count a record as dropped."""
        self.dropped += 1


class OutageLog:
    """Logs once that a store cannot be reached, and once that it can again."""

    def __init__(self, owner: str, store: str = "the traffic store") -> None:
        self._owner, self._store = owner, store
        self._is_out = False

    def begin(self, error: UserError) -> None:
        """Record a failure."""
        if not self._is_out:
            _log.error("%s continues without %s: %s", self._owner, self._store, error)
        self._is_out = True

    def end(self) -> None:
        """Record a success."""
        if self._is_out:
            _log.warning("%s: %s is back", self._owner, self._store)
        self._is_out = False


class Writer(Backlog[Record]):
    """A backlog that a thread of its own flushes at an interval.

    Parameters
    ----------
    write, owner, **bounds
        As of `Backlog`.
    every_s : float
        Interval between two flushes (seconds).
    store : str
        Name of the store, for messages.
    """

    def __init__(
        self,
        write: Callable[[list[Record]], int],
        owner: str,
        every_s: float,
        store: str = "the traffic store",
        **bounds: int,
    ) -> None:
        super().__init__(write, owner, **bounds)
        self._every_s = every_s
        self._outage = OutageLog(owner, store)
        self._ended = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"writer of {owner}")
        self._thread.start()

    def flush(self) -> None:
        """Write all queued records now; a store that cannot be reached is logged, once an outage."""
        try:
            super().flush()
        except UserError as error:
            self._outage.begin(error)
        else:
            self._outage.end()

    def wake(self) -> None:
        """Have all queued records written now, without waiting for it."""
        self._woken.set()

    def close(self) -> int:
        """Write all queued records and stop; return how many the store did not take, which are lost, and logged."""
        self._ended = True
        self._woken.set()
        self._thread.join()
        lost = [record for queue in self._queues.values() for record in queue]
        self._queues.clear()
        for record in lost:
            self._drop(record, f"{self.failure}")
        if lost:
            _log.error("%s: %d records are lost: %s", self._owner, len(lost), self.failure)
        return len(lost)

    def _run(self) -> None:
        try:
            self._write_until_closed()
        except BaseException as error:
            self.failure = UserError(f"a bug: {type(error).__name__}: {error}"[:200])
            raise  # into the log; what is still added is counted as lost at the end

    def _write_until_closed(self) -> None:
        while not self._ended:
            began = time.monotonic()
            self._woken.clear()
            self.flush()
            if not self._ended:
                self._woken.wait(max(0.0, began + self._every_s - time.monotonic()))
        self.flush()
