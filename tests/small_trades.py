"""A market so small that a strategy's orders on it are known beforehand."""

import numpy as np

from nautilus_torchserve.market.trades.trades import Instrument, Trades

MS = 1_000_000
START = 1_700_000_000_000 * MS


def small_market() -> Trades:
    """Return 100 trades of BTCUSDT, one each 100 ms, with the price up by a tick each time."""
    ts = START + np.arange(100, dtype=np.int64) * 100 * MS
    return Trades(
        instrument=Instrument("BTCUSDT", "BINANCE", 2, 3),
        source="small market",
        simulated=True,
        ts_event=ts,
        ts_init=ts,
        price=np.arange(5_000_000, 5_000_100),
        size=np.full(100, 1_000),
        side=np.tile(np.array([1, -1], dtype=np.int8), 50),
        trade_id=np.arange(100).astype(str),
    )
