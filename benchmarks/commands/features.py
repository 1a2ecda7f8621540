"""Measure the tick features: one trade at a time, against recomputing each window with numpy, and all at once."""

import json
import statistics
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from benchmarks.machine import describe_machine
from nautilus_torchserve.cli.app import App
from nautilus_torchserve.cli.options import Json
from nautilus_torchserve.features.tick import WINDOW, TickFeatures, tick_features
from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import Trades

app = App()


def streaming(trades: Trades) -> None:
    """Update the features with each trade, as the actor does."""
    features = TickFeatures()
    columns = (trades.price, trades.size, trades.side, trades.ts_event)
    for trade in zip(*(column.tolist() for column in columns), strict=True):
        features.update(*trade)


def recomputed(trades: Trades) -> None:
    """Apply the vectorised form to the last window, again for each trade."""
    for stop in range(WINDOW + 1, len(trades) + 1):
        window = slice(stop - WINDOW - 1, stop)
        tick_features(trades.price[window], trades.size[window], trades.side[window], trades.ts_event[window])


def vectorised(trades: Trades) -> None:
    """Compute the features of all trades at once, as training does."""
    tick_features(trades.price, trades.size, trades.side, trades.ts_event)


@app.command()
def main(
    trades: Annotated[int, typer.Option(min=1000, help="Trades to simulate.")] = 50_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds (the median counts).")] = 5,
    as_json: Json = False,
) -> None:
    """Print ticks/s of each form, and the streaming form's ratio to recomputing."""
    market = simulate(trades)
    forms: dict[str, Callable[[Trades], None]] = {f.__name__: f for f in (streaming, recomputed, vectorised)}
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in track(range(rounds), "measuring", console=Console(stderr=True), transient=True):
        for name, form in forms.items():  # in turn, so that a slower machine is so for all
            began = time.perf_counter()
            form(market)
            seconds[name].append(time.perf_counter() - began)
    per_s = {name: trades / statistics.median(durations) for name, durations in seconds.items()}
    ratio = statistics.median(np.divide(seconds["recomputed"], seconds["streaming"]))
    result = {"machine": describe_machine(), "trades": trades, "ticks_per_s": per_s, "streaming_to_recomputed": ratio}
    if as_json:
        print(json.dumps(result))
        return
    for name, value in per_s.items():
        print(f"{name:12s} {value:12,.0f} ticks/s")
    print(f"streaming is {ratio:.1f} times as fast as recomputing each window")
