"""Trades from a NautilusTrader data catalog; one of the modules here that import nautilus_trader."""

from pathlib import Path

import numpy as np
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.persistence.funcs import urisafe_identifier

from nautilus_torchserve.market.catalog_files import read_catalog_files
from nautilus_torchserve.market.trades.trades import BadData, Instrument, Trades

SIDES = {AggressorSide.BUYER: 1, AggressorSide.SELLER: -1, AggressorSide.NO_AGGRESSOR: 0}


def load_catalog(path: Path, instrument_id: str | None = None) -> Trades:
    """Read the trades of one instrument from a ``ParquetDataCatalog``.

    Files of several precisions may lie side by side; the trades have the finest, and no value is altered.

    Parameters
    ----------
    path : Path
        The catalog's root, which holds ``data/trade_tick/``.
    instrument_id : str, optional
        Which instrument, ``BTCUSDT.BINANCE``; may be left out where only one has trades.

    Returns
    -------
    Trades
        Not checked yet: see `market.trades.trades.check`.

    Raises
    ------
    BadData
        No trades there, or the instrument is ambiguous; lists those that have trades. Or a file cannot be
        read, or a value does not fit.
    """
    stored = sorted(folder.name for folder in path.glob("data/trade_tick/*") if any(folder.glob("*.parquet")))
    if not stored:
        raise BadData(
            f"{path.name}: expected a NautilusTrader catalog with trades, got a folder without data/trade_tick"
        )
    if instrument_id is None and len(stored) > 1:
        raise BadData(f"{path.name}: expected the name of one instrument, got none of {', '.join(stored)}")
    chosen = urisafe_identifier(stored[0] if instrument_id is None else instrument_id)
    if chosen not in stored:
        raise BadData(f"{path.name}: expected one of {', '.join(stored)}, got {chosen}")
    table = read_catalog_files(path.name, path / "data/trade_tick" / chosen, ["price"], "size")
    (price,), price_precision = table.steps(["price"], table.price_precision)
    (size,), size_precision = table.steps(["size"], table.size_precision)
    symbol, _, venue = table.instrument_id.rpartition(".")
    sides = np.zeros(len(AggressorSide) + 1, dtype=np.int8)
    sides[list(map(int, SIDES))] = list(SIDES.values())
    return Trades(
        instrument=Instrument(symbol, venue, price_precision, size_precision),
        source=path.name,
        simulated=False,
        ts_event=table.integers("ts_event"),
        ts_init=table.integers("ts_init"),
        price=price,
        size=size,
        side=sides[table.integers("aggressor_side")],
        trade_id=table.columns["trade_id"].to_numpy().astype(np.str_),
    )
