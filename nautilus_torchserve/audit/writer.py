"""Records on their way to the log: taken at once, written by a thread of its own."""

import logging

from nautilus_torchserve import backlog
from nautilus_torchserve.audit.records import AuditLog, Record, UnfitRecord

MOST_RECORDS = 50_000
_BATCH = 5_000
_log = logging.getLogger(__name__)


class Writer(backlog.Writer[Record]):
    """Writes records to a log at intervals, in a thread of its own; `add` never waits for the log.

    While the log takes nothing, records wait here. Beyond ``most`` the oldest of their kind are dropped; that is
    logged and counted, and their sequence numbers are missing from the log.

    Parameters
    ----------
    log : AuditLog
        Closed by `close`; nothing else may write to it meanwhile.
    every_s : float
        Between two writings, seconds: what a crash costs at most, but for the writing itself.
    most : int
        Records of one kind that may wait.
    """

    def __init__(self, log: AuditLog, every_s: float, most: int = MOST_RECORDS) -> None:
        self.log = log
        self.dropped_since_ns: int | None = None
        """Time of the earliest dropped record, by the run's clock, Unix ns; None: there are none."""
        self.why = ""
        """Reason why the first of them was not written."""
        super().__init__(self._keep, "The run", every_s, f"its audit log {log.name}", most=most, batch=_BATCH)

    def close(self) -> int:
        """Write what is waiting, end and close the log; return how many records it did not take, also logged."""
        lost = super().close()
        self.log.close()
        return lost

    def _write_until_closed(self) -> None:
        self.log.tidy()
        super()._write_until_closed()

    def _keep(self, batch: list[Record]) -> int:
        """Write a batch; halve batches until a record that cannot be written is alone, and drop it."""
        try:
            self.log.keep(batch)
        except UnfitRecord as error:
            self._batch = max(1, len(batch) // 2)
            if len(batch) > 1:
                return 0
            _log.error("%s: a record is lost: %s", self.log.name, error)
            with self._lock:
                self._drop(batch[0], f"{error}")
        else:
            self._batch = min(_BATCH, 2 * self._batch)
        return len(batch)

    def _drop(self, record: Record, reason: str) -> None:
        super()._drop(record, reason)
        self.why = self.why or reason
        since_ns = self.dropped_since_ns
        self.dropped_since_ns = record.ts_ns if since_ns is None else min(since_ns, record.ts_ns)
