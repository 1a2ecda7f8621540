"""Bars and their predictions for a prefetched run."""

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import BarType
from nautilus_trader.model.instruments import Instrument
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import TIME_STEPS, bar_columns, bar_schema, have_volume, window_ends, windows
from nautilus_torchserve.latency.choice import Delay
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.trading.backtest.bars.catalog import bar_objects, bar_quote_ticks
from nautilus_torchserve.trading.backtest.prefetch.prediction_table import PredictionTable
from nautilus_torchserve.trading.backtest.prefetch.requests import Failures, predict_rows
from nautilus_torchserve.trading.backtest.prefetch.stream import MarketChunk, map_ahead
from nautilus_torchserve.trading.bars.actor import BarInferenceActorConfig

WINDOWS = 512
"""Windows of one request: 0.6 MB, and a third of a second of a model's time."""


class BarsRun(NamedTuple):
    """One instrument of a run."""

    bars: Bars
    """All bars of the run."""
    instrument: Instrument
    bar_type: BarType


class WindowIndex(NamedTuple):
    """Windows of a run, in the order of an actor's requests: columns of one length."""

    subject: NDArray[np.int64]
    """Position of the instrument."""
    number: NDArray[np.int64]
    """Position of the bar that ends the window, among all of its instrument."""
    ts_event: NDArray[np.int64]
    """When that bar closed, which is when it was received, Unix ns."""


def bar_chunk(runs: Sequence[BarsRun], spread_bps: float) -> MarketChunk:
    """Return all bars of a run, then all quotes around them: the order in which those of one time are handled."""
    streams: list[tuple[Sequence[Data], NDArray[np.int64]]] = [
        (bar_objects(run.bars, run.bar_type), run.bars.ts_event) for run in runs
    ]
    for run in runs:
        quotes = bar_quote_ticks(run.bars, run.instrument, spread_bps)
        streams.append((quotes, np.array([quote.ts_init for quote in quotes], dtype=np.int64)))
    return MarketChunk(streams, max(int(times[-1]) for _, times in streams) + 1)


class BarWindows:
    """The windows of a run's instruments, computed when they are requested.

    Parameters
    ----------
    runs : sequence of BarsRun
    config : BarInferenceActorConfig
        Configuration of the actor in whose place they are requested.
    """

    def __init__(self, runs: Sequence[BarsRun], config: BarInferenceActorConfig) -> None:
        self._columns = [bar_columns(_ohlcv(run.bars), config.indicators) for run in runs]
        lookback = bar_schema(config.indicators).window
        subject, number, ts_event = [], [], []
        for position, run in enumerate(runs):
            closed_ns = run.bars.ts_event
            ends = window_ends(closed_ns, config.max_gap_ns, lookback)
            ends = ends[(closed_ns[ends] >= config.first_ts_event) & have_volume(run.bars.volumes(), ends)]
            subject.append(np.full(len(ends), position))
            number.append(ends)
            ts_event.append(closed_ns[ends])
        order = np.argsort(np.concatenate(ts_event), kind="stable")
        self.index = WindowIndex(*(np.concatenate(column)[order] for column in (subject, number, ts_event)))
        received_ns = np.unique(np.concatenate([run.bars.ts_event for run in runs]))
        self.received_ns = received_ns[received_ns >= config.first_ts_event]
        """When bars were received that may end a window, Unix ns, increasing: one request of an actor each."""

    def window(self, subject: int, number: int) -> NDArray[np.float32]:
        """Return one window, float32 [time_steps, columns]."""
        return windows(self._columns[subject], np.array([number]))[0]

    def part(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return windows ``start`` to ``stop - 1`` of `index`, float32 [n, time_steps, columns]."""
        subject, number = self.index.subject[start:stop], self.index.number[start:stop]
        rows = np.empty((len(subject), TIME_STEPS, self._columns[0].shape[1]), dtype=np.float32)
        for position in np.unique(subject):
            here = subject == position
            rows[here] = windows(self._columns[position], number[here])
        return rows

    def parts(self, size: int) -> list[tuple[int, int]]:
        """Return where to divide the windows, some ``size`` in each part; those received together stay together."""
        stops, ts_event = [0], self.index.ts_event
        while stops[-1] < len(ts_event):
            last_ns = ts_event[min(stops[-1] + size, len(ts_event)) - 1]
            stops.append(int(np.searchsorted(ts_event, last_ns, side="right")))
        return list(pairwise(stops))


def bar_predictions(
    about: BarWindows, client: InferenceClient, delay: Delay, failures: Failures, threads: int
) -> Generator[PredictionTable, None, None]:
    """Yield the model's predictions of each window, in the order of `BarWindows.index`.

    An actor makes one request for all bars received at one time, also where none of them ends a window.

    Parameters
    ----------
    threads : int
        See `map_ahead`.
    """
    due_ns = delay.due_many(about.received_ns)
    parts = about.parts(WINDOWS)
    rows = (about.part(start, stop) for start, stop in parts)
    with closing(map_ahead(partial(predict_rows, client), rows, threads, 2 * threads)) as responses:
        for (start, stop), response in zip(parts, responses, strict=True):
            part = WindowIndex(*(column[start:stop] for column in about.index))
            accepted = failures.accepted(response, part.subject, part.number, event=part.ts_event)
            ts_event = part.ts_event[accepted]
            yield PredictionTable(
                subject=part.subject[accepted],
                number=part.number[accepted],
                ts_event=ts_event,
                arrived_ns=ts_event,
                due_ns=due_ns[np.searchsorted(about.received_ns, ts_event)],
                latency_ns=response.latency_ns[accepted],
                outputs=response.outputs[accepted],
            )
            if failures.gave_up:
                return


def _ohlcv(bars: Bars) -> NDArray[np.float64]:
    return np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)
