"""Records on their way to the store, queued through an outage of it."""

import logging
import threading
from collections import deque
from collections.abc import Iterable
from itertools import islice

from nautilus_torchserve.traffic.store import Record, StoreFailed, TrafficStore

MOST_RECORDS = 100_000
_BATCH = 1_000
_log = logging.getLogger(__name__)


class Backlog:
    """Queues records, and writes them to the store at `flush`; safe to use from several threads.

    While the store cannot be reached they stay queued. Beyond ``most`` the oldest are dropped, and that is logged.
    A batch whose commit was not confirmed is written again: it may be there twice, never not at all.

    Parameters
    ----------
    store : TrafficStore
    most : int
        Largest number of queued records of one type.
    """

    def __init__(self, store: TrafficStore, most: int = MOST_RECORDS) -> None:
        self._store = store
        self._most = most
        self._lock = threading.Lock()  # of the queues
        self._flushing = threading.Lock()  # one thread at a time writes
        self._queues: dict[type[Record], deque[Record]] = {}
        self.dropped = 0
        """Records dropped from full queues."""

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._queues.values()))

    def add(self, records: Iterable[Record]) -> None:
        """Queue records; never waits for the store."""
        with self._lock:
            for record in records:
                queue = self._queues.setdefault(type(record), deque())
                if len(queue) >= self._most:
                    queue.popleft()
                    self._log_dropped(record)
                queue.append(record)

    def flush(self) -> None:
        """Write all queued records to the store.

        Raises
        ------
        StoreFailed
            It took none, or not all; the others stay queued.
        """
        with self._flushing:
            with self._lock:
                queues = list(self._queues.values())
            for queue in queues:
                while batch := self._first(queue):
                    self._store.keep(batch)
                    self._remove(queue, batch)

    def _first(self, queue: deque[Record]) -> list[Record]:
        with self._lock:
            return list(islice(queue, _BATCH))

    def _remove(self, queue: deque[Record], batch: list[Record]) -> None:
        """Remove a batch that was written; its oldest records may have been dropped meanwhile."""
        written = {id(record) for record in batch}
        with self._lock:
            while queue and id(queue[0]) in written:
                queue.popleft()

    def _log_dropped(self, record: Record) -> None:
        self.dropped += 1
        if self.dropped == 1 or self.dropped % self._most == 0:
            _log.error(
                "%s: %d dropped so far, %d are queued for the store", type(record).__name__, self.dropped, self._most
            )


class OutageLog:
    """Logs once that the store cannot be reached, and once that it can again."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self.since: StoreFailed | None = None
        """Why it cannot be reached; None while it can be."""

    def begin(self, error: StoreFailed) -> None:
        """Record a failure."""
        if self.since is None:
            _log.error("%s continues without the traffic store: %s", self._owner, error)
        self.since = error

    def end(self) -> None:
        """Record a success."""
        if self.since is not None:
            _log.warning("%s: the traffic store is back", self._owner)
        self.since = None


class Writer:
    """A backlog that a thread of its own flushes at an interval.

    Parameters
    ----------
    store : TrafficStore
    every_s : float
        Interval between two flushes (seconds).
    owner : str
        What the records are, for messages.
    """

    def __init__(self, store: TrafficStore, every_s: float, owner: str) -> None:
        self._backlog = Backlog(store)
        self._owner = owner
        self._outage = OutageLog(owner)
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._write_until_closed, args=(every_s,), daemon=True, name=f"writer of {owner}"
        )
        self._thread.start()

    def add(self, records: Iterable[Record]) -> None:
        """Queue records; never waits for the store."""
        self._backlog.add(records)

    def flush(self) -> None:
        """Write all queued records now; a store that cannot be reached is logged, once an outage."""
        try:
            self._backlog.flush()
        except StoreFailed as error:
            self._outage.begin(error)
        else:
            self._outage.end()

    def close(self) -> None:
        """Stop, and write all queued records; what the store does not take now is lost, and logged."""
        self._ended.set()
        self._thread.join()
        self.flush()
        if len(self._backlog):
            _log.error("%s: %d records are lost: %s", self._owner, len(self._backlog), self._outage.since)

    def _write_until_closed(self, every_s: float) -> None:
        while not self._ended.wait(every_s):
            self.flush()
