"""Records that routers wrote for a split: reading them as they come, and percentiles of their latencies."""

import math
from collections import Counter
from collections.abc import Mapping

from nautilus_torchserve.traffic.records import bucket_latency_ms
from nautilus_torchserve.traffic.store import AnyRecord, TrafficStore


class RecordReader:
    """Reads the records of a split as they come: of each kind only those that were not read before.

    On a server's database a record that another transaction wrote in between can be read twice or not at all.
    """

    def __init__(self, store: TrafficStore, split: str) -> None:
        self._store, self._split = store, split
        self._read: Counter[type] = Counter()

    def read(self, kind: type[AnyRecord]) -> list[AnyRecord]:
        """Return the new records of one kind."""
        records = self._store.read(kind, self._split, self._read[kind])
        self._read[kind] += len(records)
        return records


def percentile_ms(latencies: Mapping[int, int], share: float) -> float:
    """Return the lowest latency within which this share of the responses came, at the upper edge of its 5 % bucket.

    Parameters
    ----------
    latencies : mapping
        `latency_bucket` -> responses, at least one.
    share : float
        In (0, 1]: 0.99.

    Returns
    -------
    float
        Milliseconds: never less than the nearest-rank percentile itself, and at most 5 % above it.
    """
    rank = math.ceil(share * sum(latencies.values()) - 1e-9)  # 0.99 * 100 is 99.00000000000001 or so
    for bucket in sorted(latencies):
        rank -= latencies[bucket]
        if rank <= 0:
            return bucket_latency_ms(bucket)
    raise ValueError(f"expected at least one latency and a share in (0, 1], got {latencies}, {share}")
