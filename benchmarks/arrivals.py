"""When requests arrive, and with which rows: as recorded trades did, or by chance at a steady rate."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import bar_columns, bar_schema, window_ends, windows
from nautilus_torchserve.features.tick import tick_features, tick_schema
from nautilus_torchserve.market.bars.bars import PRICES
from nautilus_torchserve.market.bars.simulator import simulate_bars
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.checks import BadSetting

FEWEST = 100
"""Arrivals; a p99 of fewer is a guess."""
_POISSON = "poisson:"
_SEED = 1
_SIMULATED = 4000


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Times at which requests are sent."""

    words: str
    """Description for the profile."""
    due_ns: NDArray[np.int64]
    """Time of each request [n], ns since the first, non-decreasing."""
    trades: Trades | None
    """Trades that arrived at these times; None for random times."""


def parse_arrivals(text: str, seconds: float, speed: float) -> Arrivals:
    """Return the arrivals of ``poisson:RATE`` (a second), or those of the trades in a file, over some seconds.

    Parameters
    ----------
    seconds : float
        Of wall time; later ones are left out.
    speed : float
        Trades are sent this many times as fast as they were received.

    Raises
    ------
    BadSetting
        A rate or a speed is not above 0.
    BadData
        The file cannot be read, or there are fewer than `FEWEST` in that time.
    """
    if not (speed > 0 and np.isfinite(speed)):
        raise BadSetting(f"expected a speed above 0, got {speed:g}")
    arrivals = _poisson(text, seconds) if text.startswith(_POISSON) else _received(Path(text), seconds, speed)
    if len(arrivals.due_ns) < FEWEST:
        raise BadData(f"{text}: expected at least {FEWEST} arrivals in {seconds:g} s, got {len(arrivals.due_ns)}")
    return arrivals


def rows_of(metadata: ModelMetadata, trades: Trades | None) -> NDArray[np.float32]:
    """Return rows that the model takes: features of the trades, or of simulated ones; windows of simulated bars.

    A model of other features gets random numbers of its inputs' shape, on which the time of a network does not depend.

    Raises
    ------
    BadData
        The model takes no rows.
    """
    model_schema = metadata.feature_schema
    if tick_schema(model_schema.window).sha256 == metadata.feature_schema_sha256:
        market = load(None, _SIMULATED, _SEED) if trades is None else trades
        rows = tick_features(market.price, market.size, market.side, market.ts_event, model_schema.window)
        return rows[model_schema.window :]
    if metadata.inputs != "rows":
        raise BadData(f"expected a model of rows, got {metadata.model}, one of {metadata.inputs}")
    indicators = len(model_schema.columns) > len(bar_schema().columns)
    if model_schema.time_steps is not None:
        schema = bar_schema(indicators, model_schema.time_steps)
        if schema.sha256 == metadata.feature_schema_sha256:
            bars = simulate_bars(schema.window + 512)
            ohlcv = np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)
            ends = window_ends(bars.ts_event, bars.interval_ns, schema.window)
            return windows(bar_columns(ohlcv, indicators), ends, model_schema.time_steps)
    random = np.random.default_rng(_SEED)
    return random.standard_normal((_SIMULATED, *model_schema.row_shape), dtype=np.float32)


def _poisson(text: str, seconds: float) -> Arrivals:
    try:
        rate = float(text.removeprefix(_POISSON))
    except ValueError:
        rate = 0.0
    if not (rate > 0 and np.isfinite(rate)):
        raise BadSetting(f"expected arrivals such as poisson:50 (a second) or a file of trades, got {text!r}")
    random = np.random.default_rng(_SEED)
    gaps_s = random.exponential(1 / rate, size=int(2 * rate * seconds) + FEWEST)
    due_ns = (1e9 * (np.cumsum(gaps_s) - gaps_s[0])).astype(np.int64)
    return Arrivals(f"Poisson, {rate:g}/s", due_ns[due_ns < 1e9 * seconds], None)


def _received(path: Path, seconds: float, speed: float) -> Arrivals:
    trades = load(path, 0, _SEED)
    due_ns = ((trades.ts_init - trades.ts_init[0]) / speed).astype(np.int64)
    first = tick_schema().window  # from here on each trade has its row of features
    if len(trades) <= first:
        raise BadData(f"{path}: expected more than {first} trades, got {len(trades)}")
    due_ns = due_ns[first:] - due_ns[first]
    within = int(np.searchsorted(due_ns, 1e9 * seconds))
    faster = "" if speed == 1 else f", {speed:g} times as fast"
    words = f"trades of {trades.instrument.instrument_id} in {path.name} as received{faster}"
    return Arrivals(words, due_ns[:within], trades.between(0, first + within))
