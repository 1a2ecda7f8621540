"""Trades and their predictions for a prefetched run, chunk by chunk."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.tick import tick_features
from nautilus_torchserve.latency.choice import Delay
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.trading.backtest.prefetch.prediction_table import PredictionTable
from nautilus_torchserve.trading.backtest.prefetch.requests import Failures, predict_rows
from nautilus_torchserve.trading.backtest.prefetch.stream import MarketChunk, map_ahead
from nautilus_torchserve.trading.instruments.instruments import implied, to_quote_ticks, trade_ticks

ROWS = 8192
"""Rows of one request."""


def trade_chunks(
    trades: Trades, size: int, tick: int = 1, quotes: Quotes | None = None
) -> Generator[MarketChunk, None, None]:
    """Yield trades and quotes, some ``size`` trades at a time; trades of one time stay together.

    Parameters
    ----------
    tick : int
        The instrument's, in steps of 10**-price_precision.
    quotes : Quotes, optional
        The venue's, up to the last trade; None: those that the trades imply.
    """
    start = first_quote = 0
    while start < len(trades):
        last_ns = trades.ts_init[min(start + size, len(trades)) - 1]
        stop = int(np.searchsorted(trades.ts_init, last_ns, side="right"))
        chunk = trades.between(start, stop)
        until_ns = int(trades.ts_init[stop]) if stop < len(trades) else int(last_ns) + 1
        streams = [(trade_ticks(chunk), chunk.ts_init)]
        if quotes is None:
            streams.append((to_quote_ticks(_implied(trades, start, stop, tick)), chunk.ts_init))
        else:
            stop_quote = int(np.searchsorted(quotes.ts_init, until_ns))
            part = quotes.between(first_quote, stop_quote)
            streams.insert(0, (to_quote_ticks(part), part.ts_init))  # as `TradeMarket.write_catalog`
            first_quote = stop_quote
        yield MarketChunk(streams, until_ns)
        start = stop


def _implied(trades: Trades, start: int, stop: int, tick: int) -> Quotes:
    """Return `implied` quotes after trades ``start`` to ``stop - 1``; they depend on the last buy and sell before."""
    before = sorted(at for at in (_last(trades, side, start) for side in (1, -1)) if at >= 0)
    positions = np.concatenate([np.array(before, dtype=np.int64), np.arange(start, stop)])
    columns = {name: getattr(trades, name)[positions] for name in ("ts_event", "ts_init", "price", "size", "side")}
    return implied(replace(trades, **columns), tick).between(len(before), len(positions))


def _last(trades: Trades, side: int, stop: int, step: int = 4096) -> int:
    """Return the position of the last trade of a side before ``stop``, -1 where there is none."""
    while stop > 0:
        start = max(0, stop - step)
        positions = np.flatnonzero(trades.side[start:stop] == side)
        if len(positions):
            return start + int(positions[-1])
        stop = start
    return -1


def tick_predictions(
    trades: Trades,
    client: InferenceClient,
    window: int,
    delay: Delay,
    failures: Failures,
    threads: int,
    ahead: int,
) -> Generator[PredictionTable, None, None]:
    """Yield the model's predictions of each trade after the first ``window``, in their order.

    Parameters
    ----------
    threads, ahead : int
        See `map_ahead`.
    """
    starts = range(window, len(trades), ROWS)
    rows = (tick_rows(trades, start, min(start + ROWS, len(trades)), window) for start in starts)
    with closing(map_ahead(partial(predict_rows, client), rows, threads, ahead)) as responses:
        for start, response in zip(starts, responses, strict=True):
            number = np.arange(start, start + len(response))
            about = np.zeros(len(response), dtype=np.int64)
            accepted = failures.accepted(response, about, number, event=number)
            number = number[accepted]
            arrived_ns = trades.ts_init[number]
            yield PredictionTable(
                subject=about[accepted],
                number=number,
                ts_event=trades.ts_event[number],
                arrived_ns=arrived_ns,
                due_ns=delay.due_many(arrived_ns),
                latency_ns=response.latency_ns[accepted],
                outputs=response.outputs[accepted],
            )
            if failures.gave_up:
                return


def tick_rows(trades: Trades, start: int, stop: int, window: int) -> NDArray[np.float32]:
    """Return the features of trades ``start`` to ``stop - 1``, of which none is among the first ``window``."""
    known = slice(start - window, stop)
    return tick_features(trades.price[known], trades.size[known], trades.side[known], trades.ts_event[known], window)[
        window:
    ]
