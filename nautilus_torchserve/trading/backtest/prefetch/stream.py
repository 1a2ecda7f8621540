"""Chunked data stream of a backtest: market data merged with the predictions that fall due."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from nautilus_torchserve.serving.client.transports import is_server_url
from nautilus_torchserve.trading.backtest.prefetch.prediction_table import PredictionInjector, PredictionTable, concat
from nautilus_torchserve.trading.backtest.prefetch.requests import Failures
from nautilus_torchserve.trading.backtest.simulated_time import are_alerts_in_order
from nautilus_torchserve.trading.inference.messages import ModelInput

THREADS = 4
"""Requests to a server at one time."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class MarketChunk:
    """The market's data of some time."""

    streams: Sequence[tuple[Sequence[Data], NDArray[np.int64]]]
    """Lists of data, each with their ``ts_init`` (Unix ns, non-decreasing), in the order in which those of one time
    are handled."""
    until_ns: int
    """``ts_init`` of the first datum after them, Unix ns; later than all of this chunk."""


class Feed(NamedTuple):
    """The data of a prefetched run."""

    instrument_ids: tuple[InstrumentId, ...]
    """Instruments of the predictions."""
    market: Iterable[MarketChunk]
    """In order of time."""
    span_ns: tuple[int, int]
    """``ts_init`` of the market's first and last datum, Unix ns."""
    predictions: Generator[PredictionTable, None, None]
    """In the order in which they were requested."""
    failures: Failures
    """Failures of those requests."""
    inputs: Callable[[int, int], ModelInput]
    """Given a position among the instruments and a `Prediction.number`, the input of that prediction."""


def threads_for(url: str) -> int:
    """Return how many threads send requests; 0: the engine's own thread does."""
    return THREADS if is_server_url(url) else 0


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield the results of a function in the order of its arguments, up to ``ahead`` of them computed early.

    Arguments are made in the caller's thread, and the other threads only wait for the server: each array operation in
    one of them would wait for the interpreter, which the engine does not release by itself.

    Parameters
    ----------
    function : callable
        Called from several threads at once.
    threads : int
        Number of threads; 0 calls the function in the caller's thread when a result is needed.
    """
    if not threads:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="prefetch") as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


class MergedData:
    """Market data and predictions in one stream, by time.

    Parameters
    ----------
    market : iterable of MarketChunk
        In order of time.
    end_ns : int
        ``ts_init`` of the last datum of all, Unix ns.
    predictions : iterator of PredictionTable
        In the order of the requests, each part not before its predecessor.
    injector : PredictionInjector
        Converts them to data.
    """

    def __init__(
        self,
        market: Iterable[MarketChunk],
        end_ns: int,
        predictions: Iterator[PredictionTable],
        injector: PredictionInjector,
    ) -> None:
        self._market = market
        self._end_ns = end_ns
        self._predictions = predictions
        self._injector = injector
        self._waiting: list[PredictionTable] = []
        self._known_until = -1

    def chunks(self) -> Generator[list[Data], None, None]:
        """Yield lists of data for `BacktestEngine.add_data_iterator`; each begins after its predecessor's end.

        Among data of one time, predictions come last: inline, an alert due then fires after all data of that time.
        """
        for chunk in self._market:
            due = self._due_before(min(chunk.until_ns, self._end_ns + 1))
            yield _by_time([*chunk.streams, *([] if due is None else [self._injector.data(due)])])

    def not_arrived(self) -> PredictionTable | None:
        """Return the predictions that were due only after the last datum; to be called after the run."""
        self._waiting += list(self._predictions)
        return concat(self._waiting) if self._waiting else None

    def _due_before(self, until_ns: int) -> PredictionTable | None:
        while self._known_until < until_ns:
            part = next(self._predictions, None)
            if part is None:
                break
            if len(part):
                self._known_until = int(part.arrived_ns[-1])
                self._waiting.append(part)
        if not self._waiting:
            return None
        known = concat(self._waiting)
        known = known.take(np.argsort(known.due_ns, kind="stable"))
        count = int(np.searchsorted(known.due_ns, until_ns))
        if until_ns > self._end_ns and not self._fires_at_end(known):
            count = int(np.searchsorted(known.due_ns, self._end_ns))
        self._waiting = [known.take(slice(count, None))]
        return known.take(slice(count)) if count else None

    def _fires_at_end(self, known: PredictionTable) -> bool:
        """Return whether predictions due at the very end take effect.

        Inline, an alert that is set at that very time does not run before NautilusTrader 1.223.
        """
        return are_alerts_in_order() or bool((known.arrived_ns[known.due_ns == self._end_ns] < self._end_ns).any())


def _by_time(streams: Sequence[tuple[Sequence[Data], NDArray[np.int64]]]) -> list[Data]:
    """Return all data by time; of those of one time, an earlier stream's first."""
    every = np.empty(sum(len(data) for data, _ in streams), dtype=object)
    every[:] = [datum for data, _ in streams for datum in data]
    times = np.concatenate([times for _, times in streams])
    return every[np.argsort(times, kind="stable")].tolist()
