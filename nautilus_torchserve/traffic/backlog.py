"""Records on their way to the store, kept through an outage of it."""

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
    """Takes records at once and gives them to the store when told to; safe to use from several threads.

    While the store cannot be reached they wait here. Beyond ``most`` the oldest are dropped; that is logged.
    A batch whose commit was not confirmed is given again: it may be there twice, never not at all.

    Parameters
    ----------
    store : TrafficStore
    most : int
        Records of one type that may wait.
    """

    def __init__(self, store: TrafficStore, most: int = MOST_RECORDS) -> None:
        self._store = store
        self._most = most
        self._lock = threading.Lock()  # of the queues
        self._giving = threading.Lock()  # one thread at a time gives
        self._waiting: dict[type[Record], deque[Record]] = {}
        self.dropped = 0
        """Records that found no room."""

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def add(self, records: Iterable[Record]) -> None:
        """Take records; never waits for the store."""
        with self._lock:
            for record in records:
                queue = self._waiting.setdefault(type(record), deque())
                if len(queue) >= self._most:
                    queue.popleft()
                    self._say_dropped(record)
                queue.append(record)

    def flush(self) -> None:
        """Give the store all that is waiting.

        Raises
        ------
        StoreFailed
            It took nothing, or not all; what it did not take goes on waiting.
        """
        with self._giving:
            with self._lock:
                queues = list(self._waiting.values())
            for queue in queues:
                while batch := self._first(queue):
                    self._store.keep(batch)
                    self._remove(queue, batch)

    def _first(self, queue: deque[Record]) -> list[Record]:
        with self._lock:
            return list(islice(queue, _BATCH))

    def _remove(self, queue: deque[Record], batch: list[Record]) -> None:
        """Remove what has been given; its oldest may have been dropped meanwhile."""
        given = {id(record) for record in batch}
        with self._lock:
            while queue and id(queue[0]) in given:
                queue.popleft()

    def _say_dropped(self, record: Record) -> None:
        self.dropped += 1
        if self.dropped == 1 or self.dropped % self._most == 0:
            _log.error(
                "%s: %d dropped so far, %d are waiting for the store", type(record).__name__, self.dropped, self._most
            )


class Outage:
    """Says once that the store cannot be reached, and once that it can again."""

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self.since: StoreFailed | None = None
        """Why it could not be reached; None while it can."""

    def begin(self, error: StoreFailed) -> None:
        """It failed."""
        if self.since is None:
            _log.error("%s goes on without the traffic store: %s", self._whose, error)
        self.since = error

    def end(self) -> None:
        """It did what it was asked."""
        if self.since is not None:
            _log.warning("%s: the traffic store is back", self._whose)
        self.since = None


class Writer:
    """A backlog that gives itself to the store every so often, in a thread of its own.

    Parameters
    ----------
    store : TrafficStore
    every_s : float
        Between two writings, seconds.
    whose : str
        What the records are, for messages.
    """

    def __init__(self, store: TrafficStore, every_s: float, whose: str) -> None:
        self._backlog = Backlog(store)
        self._whose = whose
        self._outage = Outage(whose)
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._write_until_closed, args=(every_s,), daemon=True, name=f"writer of {whose}"
        )
        self._thread.start()

    def add(self, records: Iterable[Record]) -> None:
        """Take records; never waits for the store."""
        self._backlog.add(records)

    def flush(self) -> None:
        """Write what is waiting, now; a store that cannot be reached is logged, once an outage."""
        try:
            self._backlog.flush()
        except StoreFailed as error:
            self._outage.begin(error)
        else:
            self._outage.end()

    def close(self) -> None:
        """Write what is waiting, and end; what the store does not take then is lost, and logged."""
        self._ended.set()
        self._thread.join()
        self.flush()
        if len(self._backlog):
            _log.error("%s: %d records are lost: %s", self._whose, len(self._backlog), self._outage.since)

    def _write_until_closed(self, every_s: float) -> None:
        while not self._ended.wait(every_s):
            self.flush()
