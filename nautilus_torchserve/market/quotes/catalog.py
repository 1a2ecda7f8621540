"""Quotes from a NautilusTrader data catalog; imports nautilus_trader, like market/trades/catalog.py."""

from pathlib import Path

from nautilus_trader.persistence.funcs import urisafe_identifier

from nautilus_torchserve.market.catalog_files import read_catalog_files
from nautilus_torchserve.market.quotes.quotes import Quotes, check
from nautilus_torchserve.market.trades.trades import BadData, Instrument

PRICES, SIZES = ("bid_price", "ask_price"), ("bid_size", "ask_size")


def has_quotes(path: Path, instrument_id: str) -> bool:
    """Return whether a catalog has quotes of an instrument."""
    return any(_folder(path, instrument_id).glob("*.parquet"))


def load_catalog_quotes(path: Path, instrument_id: str | None = None) -> Quotes:
    """Read the quotes of one instrument from a ``ParquetDataCatalog``, and check them.

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
        stored = sorted(folder.name for folder in path.glob("data/quote_tick/*") if any(folder.glob("*.parquet")))
        if len(stored) != 1:
            got = ", ".join(stored) or "none"
            raise BadData(f"{path.name}: expected quotes of one instrument, got {got}; name one with --instrument")
        (instrument_id,) = stored
    if not has_quotes(path, instrument_id):
        raise BadData(f"{path.name}: expected a NautilusTrader catalog with quotes of {instrument_id}, got none")
    table = read_catalog_files(f"{path.name} (quotes)", _folder(path, instrument_id), PRICES, SIZES[0])
    (bid_price, ask_price), price_precision = table.steps(PRICES, table.price_precision)
    (bid_size, ask_size), size_precision = table.steps(SIZES, table.size_precision)
    symbol, _, venue = table.instrument_id.rpartition(".")
    return check(
        Quotes(
            instrument=Instrument(symbol, venue, price_precision, size_precision),
            source=table.source,
            ts_event=table.integers("ts_event"),
            ts_init=table.integers("ts_init"),
            bid_price=bid_price,
            ask_price=ask_price,
            bid_size=bid_size,
            ask_size=ask_size,
            catalog=path,
        )
    )


def _folder(path: Path, instrument_id: str) -> Path:
    return path / "data/quote_tick" / urisafe_identifier(instrument_id)
