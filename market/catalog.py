"""Trades from a NautilusTrader data catalog; the only module here that imports nautilus_trader."""

from pathlib import Path

import numpy as np
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.objects import FIXED_PRECISION
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.persistence.funcs import urisafe_identifier

from market.trades import BadData, Instrument, Trades

SIDES = {AggressorSide.BUYER: 1, AggressorSide.SELLER: -1, AggressorSide.NO_AGGRESSOR: 0}


def load_catalog(path: Path, instrument_id: str | None = None) -> Trades:
    """Read the trades of one instrument from a ``ParquetDataCatalog``.

    Parameters
    ----------
    path : Path
        The catalog's root, which holds ``data/trade_tick/``.
    instrument_id : str, optional
        Which instrument, ``BTCUSDT.BINANCE``; may be left out where only one has trades.

    Returns
    -------
    Trades
        Not checked yet: see `market.trades.check`.

    Raises
    ------
    BadData
        No trades there, or the choice of the instrument is open; lists those that have trades.
    """
    stored = sorted(folder.name for folder in path.glob("data/trade_tick/*") if any(folder.glob("*.parquet")))
    if not stored:
        raise BadData(f"{path.name}: a NautilusTrader catalog with trades expected, was without data/trade_tick")
    if instrument_id is None and len(stored) > 1:
        raise BadData(f"{path.name}: the name of one instrument expected, was none of {', '.join(stored)}")
    chosen = stored[0] if instrument_id is None else instrument_id
    if urisafe_identifier(chosen) not in stored:
        raise BadData(f"{path.name}: one of {', '.join(stored)} expected, was {chosen}")
    return _to_arrays(path.name, ParquetDataCatalog(path).trade_ticks([chosen]))


def _to_arrays(source: str, ticks: list[TradeTick]) -> Trades:
    first = ticks[0]
    price_precision, size_precision = first.price.precision, first.size.precision
    price_step = 10 ** (FIXED_PRECISION - price_precision)  # raw values are fixed-point, 128 bits wide
    size_step = 10 ** (FIXED_PRECISION - size_precision)
    instrument_id = first.instrument_id
    return Trades(
        instrument=Instrument(instrument_id.symbol.value, instrument_id.venue.value, price_precision, size_precision),
        source=source,
        simulated=False,
        ts_event=np.array([tick.ts_event for tick in ticks], dtype=np.int64),
        ts_init=np.array([tick.ts_init for tick in ticks], dtype=np.int64),
        price=np.array([tick.price.raw // price_step for tick in ticks], dtype=np.int64),
        size=np.array([tick.size.raw // size_step for tick in ticks], dtype=np.int64),
        side=np.array([SIDES[tick.aggressor_side] for tick in ticks], dtype=np.int8),
        trade_id=np.array([tick.trade_id.value for tick in ticks], dtype=np.str_),
    )
