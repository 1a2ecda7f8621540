"""Quotes and depth from a NautilusTrader data catalog; imports nautilus_trader, like market/trades/catalog.py."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.persistence.funcs import urisafe_identifier

from nautilus_torchserve.market.catalog_files import read_catalog_files
from nautilus_torchserve.market.quotes.quotes import LEVELS, Depth, Quotes, check
from nautilus_torchserve.market.trades.trades import BadData, Instrument

_KINDS = {"order_book_depth10": LEVELS, "order_book_depths": LEVELS, "quote_tick": 1}
"""Folder of a catalog -> levels of each side; later versions of NautilusTrader have another name for depth."""


def has_quotes(path: Path, instrument_id: str) -> bool:
    """Return whether a catalog has quotes of an instrument, of the best level or of several."""
    return _folder(path, instrument_id) is not None


def load_catalog_quotes(path: Path, instrument_id: str | None = None) -> Quotes:
    """Read the quotes of one instrument from a ``ParquetDataCatalog``, and check them.

    Where it has ``OrderBookDepth10``, these are the quotes, else its ``QuoteTick``. Quotes that have the times and the
    sizes of the catalog's trades, one each, are known to be implied by these.

    Parameters
    ----------
    path : Path
        The catalog's root, which holds ``data/quote_tick/``.
    instrument_id : str, optional
        Which instrument; may be left out where only one has quotes.

    Raises
    ------
    BadData
        No quotes of it there, a file cannot be read, or a value does not fit.
    """
    if instrument_id is None:
        folders = (folder for kind in _KINDS for folder in path.glob(f"data/{kind}/*"))
        stored = sorted({folder.name for folder in folders if any(folder.glob("*.parquet"))})
        if len(stored) != 1:
            got = ", ".join(stored) or "none"
            raise BadData(f"{path.name}: expected quotes of one instrument, got {got}; name one with --instrument")
        (instrument_id,) = stored
    folder = _folder(path, instrument_id)
    if folder is None:
        raise BadData(f"{path.name}: expected a NautilusTrader catalog with quotes of {instrument_id}, got none")
    sides = ("bid_price", "ask_price", "bid_size", "ask_size")
    levels = _KINDS[folder.parent.name]
    columns = {side: [side] if levels == 1 else [f"{side}_{level}" for level in range(levels)] for side in sides}
    prices, sizes = (columns[f"bid_{of}"] + columns[f"ask_{of}"] for of in ("price", "size"))
    table = read_catalog_files(f"{path.name} (quotes)", folder, prices, sizes[0])
    priced, price_precision = table.steps(prices, table.price_precision)
    sized, size_precision = table.steps(sizes, table.size_precision)
    symbol, _, venue = table.instrument_id.rpartition(".")
    values: dict[str, Any] = {
        "instrument": Instrument(symbol, venue, price_precision, size_precision),
        "source": table.source,
        "ts_event": table.integers("ts_event"),
        "ts_init": table.integers("ts_init"),
        "bid_price": priced[0],
        "ask_price": priced[levels],
        "bid_size": sized[0],
        "ask_size": sized[levels],
        "catalog": path,
    }
    if levels == 1:
        quotes = check(Quotes(**values))
        return replace(quotes, is_implied=_are_implied(quotes, path / "data/trade_tick" / folder.name))
    for name, of_levels in (("prices", priced), ("sizes", sized)):
        values[f"bid_{name}"] = np.column_stack(of_levels[:levels])
        values[f"ask_{name}"] = np.column_stack(of_levels[levels:])
    return check(Depth(**values))


def _are_implied(quotes: Quotes, trades: Path) -> bool:
    """Return whether quotes are those that `trading.instruments.instruments.implied` makes of a folder of trades."""
    if (quotes.bid_size != quotes.ask_size).any() or not any(trades.glob("*.parquet")):
        return False
    table = read_catalog_files(quotes.source, trades, ["price"], "size")
    if len(table.columns) != len(quotes) or table.size_precision != quotes.instrument.size_precision:
        return False
    (size,), _ = table.steps(["size"], table.size_precision)
    own = (
        (size, quotes.bid_size),
        *((table.integers(name), getattr(quotes, name)) for name in ("ts_event", "ts_init")),
    )
    return all(np.array_equal(left, right) for left, right in own)


def _folder(path: Path, instrument_id: str) -> Path | None:
    folders = (path / "data" / kind / urisafe_identifier(instrument_id) for kind in _KINDS)
    return next((folder for folder in folders if any(folder.glob("*.parquet"))), None)
