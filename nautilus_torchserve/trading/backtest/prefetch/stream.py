"""A backtest's data as the engine takes them in, chunk by chunk: the market's, and the predictions that fall due."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from nautilus_torchserve.trading.backtest.prefetch.prediction_table import PredictionInjector, PredictionTable, together
from nautilus_torchserve.trading.backtest.prefetch.requests import Failures
from nautilus_torchserve.trading.inference.messages import OneInput

THREADS = 4
"""Requests to a server at one time."""
Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


@dataclass(frozen=True, eq=False)
class MarketChunk:
    """The market's data of some time."""

    streams: Sequence[tuple[Sequence[Data], NDArray[np.int64]]]
    """Lists of data, each with their ``ts_init`` (Unix ns, non-decreasing), in the order in which those of one time
    are handled."""
    until_ns: int
    """``ts_init`` of the first datum after them, Unix ns; later than all of theirs."""


class Feed(NamedTuple):
    """The data of a prefetched run."""

    instrument_ids: tuple[InstrumentId, ...]
    """What predictions are about."""
    market: Iterable[MarketChunk]
    """In order of time."""
    span_ns: tuple[int, int]
    """``ts_init`` of the market's first and last datum, Unix ns."""
    predictions: Generator[PredictionTable, None, None]
    """In the order in which they were requested."""
    failures: Failures
    """Of those requests."""
    inputs: Callable[[int, int], OneInput]
    """Given a position among the instruments and a `Prediction.number`, the input of that prediction."""


def threads_for(url: str) -> int:
    """Return how many threads send requests; 0: the engine's own thread does."""
    return 0 if url.startswith("mar:") else THREADS


def ask_ahead(
    ask: Callable[[Asked], Answered], parts: Iterable[Asked], threads: int, ahead: int
) -> Generator[Answered, None, None]:
    """Answers in the order of what is asked, up to ``ahead`` of them before they are wanted.

    What is asked is made in the caller's thread, and other threads do nothing but wait for the server: each array
    operation of theirs would have to wait for the interpreter, which the engine does not let go of by itself.

    Parameters
    ----------
    ask : callable
        Called from several threads at once.
    threads : int
        How many; 0 asks when an answer is wanted, in the caller's.
    """
    if not threads:
        yield from map(ask, parts)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="ask-ahead") as pool:
        waiting: deque[Future[Answered]] = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(ask, part))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


class MergedData:
    """Market data and predictions in one stream, by time.

    Parameters
    ----------
    market : iterable of MarketChunk
        In order of time.
    end_ns : int
        ``ts_init`` of the last datum of all, Unix ns.
    answered : iterator of Predictions
        In the order in which they were asked, each part not before its predecessor.
    predicted : Predicted
        Who makes data of them.
    """

    def __init__(
        self,
        market: Iterable[MarketChunk],
        end_ns: int,
        answered: Iterator[PredictionTable],
        predicted: PredictionInjector,
    ) -> None:
        self._market = market
        self._end_ns = end_ns
        self._answered = answered
        self._predicted = predicted
        self._waiting: list[PredictionTable] = []
        self._asked_until = -1

    def chunks(self) -> Generator[list[Data], None, None]:
        """Lists of data for `BacktestEngine.add_data_iterator`; each begins after its predecessor's end.

        Among data of one time, predictions come last: inline, an alert due then fires after all data of that time.
        """
        for chunk in self._market:
            due = self._due_before(min(chunk.until_ns, self._end_ns + 1))
            yield _by_time([*chunk.streams, *([] if due is None else [self._predicted.data(due)])])

    def not_arrived(self) -> PredictionTable | None:
        """To be called after the run: predictions that were due only after its last datum."""
        self._waiting += list(self._answered)
        return together(self._waiting) if self._waiting else None

    def _due_before(self, until_ns: int) -> PredictionTable | None:
        while self._asked_until < until_ns:
            part = next(self._answered, None)
            if part is None:
                break
            if len(part):
                self._asked_until = int(part.arrived_ns[-1])
                self._waiting.append(part)
        if not self._waiting:
            return None
        known = together(self._waiting)
        known = known.take(np.argsort(known.due_ns, kind="stable"))
        count = int(np.searchsorted(known.due_ns, until_ns))
        if until_ns > self._end_ns and not self._is_alert_heard(known):
            count = int(np.searchsorted(known.due_ns, self._end_ns))
        self._waiting = [known.take(slice(count, None))]
        return known.take(slice(count)) if count else None

    def _is_alert_heard(self, known: PredictionTable) -> bool:
        """Whether what is due at the run's very end takes effect: inline, an alert set then for then does not fire."""
        return bool((known.arrived_ns[known.due_ns == self._end_ns] < self._end_ns).any())


def _by_time(streams: Sequence[tuple[Sequence[Data], NDArray[np.int64]]]) -> list[Data]:
    """All data by time; of those of one time, an earlier stream's first."""
    every = np.empty(sum(len(data) for data, _ in streams), dtype=object)
    every[:] = [each for data, _ in streams for each in data]
    times = np.concatenate([times for _, times in streams])
    return every[np.argsort(times, kind="stable")].tolist()
