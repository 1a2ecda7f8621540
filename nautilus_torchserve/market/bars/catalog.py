"""Bars from a NautilusTrader data catalog; imports nautilus_trader, like
nautilus_torchserve/market/trades/catalog.py.
"""

from pathlib import Path

from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import BarAggregation, price_type_to_str
from nautilus_trader.persistence.funcs import urisafe_identifier

from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.catalog_files import read_catalog_files
from nautilus_torchserve.market.trades.trades import BadData, Instrument

TIMES = (BarAggregation.SECOND, BarAggregation.MINUTE, BarAggregation.HOUR, BarAggregation.DAY)
"""Aggregations whose bars have a fixed length in time."""


def load_catalog_bars(
    path: Path, instrument_id: str | None = None, interval_ns: int | None = None, price_type: str | None = None
) -> Bars:
    """Read the bars of one instrument and one bar type from a ``ParquetDataCatalog``.

    Parameters
    ----------
    path : Path
        The catalog's root, which holds ``data/bar/``.
    instrument_id : str, optional
        Which instrument, ``BTCUSDT.BINANCE``; may be left out where only one has bars.
    interval_ns : int, optional
        Interval of the bars: those of this length if there are any, else the longest that it is a multiple
        of, for `market.bars.aggregate`. May be left out where the instrument has bars of one
        length.
    price_type : str, optional
        One of `market.read_options.PRICE_TYPES`; may be left out where the instrument has bars of one.

    Returns
    -------
    Bars
        Not checked yet: see `market.bars.checks`. Their ``ts_event`` is the catalog's, by
        NautilusTrader's convention the close.

    Raises
    ------
    BadData
        No bars of seconds, minutes, hours or days there, or the choice is ambiguous; lists the bar types. Or a file
        cannot be read, or a value does not fit.
    """
    chosen = _choose(path, instrument_id, interval_ns, price_type)
    table = read_catalog_files(f"{path.name} ({chosen})", path / "data/bar" / str(chosen), PRICES, "volume")
    (open_, high, low, close), price_precision = table.steps(PRICES, table.price_precision)
    (volume,), size_precision = table.steps(["volume"], table.size_precision)
    symbol, _, venue = table.instrument_id.rpartition(".")
    return Bars(
        instrument=Instrument(symbol, venue, price_precision, size_precision),
        source=table.source,
        simulated=False,
        interval_ns=chosen.spec.get_interval_ns(),
        ts_event=table.integers("ts_event"),
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
    )


def _choose(path: Path, instrument_id: str | None, interval_ns: int | None, price_type: str | None) -> BarType:
    """Return the one bar type that fits, as its folder is named: without the slash of ``AUD/USD``."""
    stored = [_bar_type(path, folder) for folder in sorted(path.glob("data/bar/*")) if any(folder.glob("*.parquet"))]
    if not stored:
        raise BadData(f"{path.name}: expected a NautilusTrader catalog with bars, got a folder without data/bar")
    fitting = [bar_type for bar_type in stored if bar_type.spec.aggregation in TIMES]
    wanted = "one kind of bars of seconds, minutes, hours or days"
    if instrument_id is not None:
        fitting = [
            bar_type for bar_type in fitting if bar_type.instrument_id.value == urisafe_identifier(instrument_id)
        ]
        wanted += f" of {instrument_id}"
    if price_type is not None:
        fitting = [bar_type for bar_type in fitting if price_type_to_str(bar_type.spec.price_type) == price_type]
        wanted += f" with {price_type} prices"
    if interval_ns is not None:
        fitting = _longest_that_divide(fitting, interval_ns)
        wanted += f" that make up {interval_ns / 1e9:g} s"
    if len(fitting) != 1:
        count = "several" if fitting else "none"
        names = ", ".join(map(str, fitting or stored))
        prices = {bar_type.spec.price_type for bar_type in fitting}
        remedy = "; choose with --price-type" if len(prices) > 1 else ""
        raise BadData(f"{path.name}: expected {wanted}, got {count} of {names}{remedy}")
    return fitting[0]


def _bar_type(path: Path, folder: Path) -> BarType:
    try:
        return BarType.from_str(folder.name)
    except ValueError as error:
        raise BadData(f"{path.name}: expected bar types in data/bar, got {folder.name!r}") from error


def _longest_that_divide(stored: list[BarType], interval_ns: int) -> list[BarType]:
    """Return the bar types of the greatest interval that ``interval_ns`` is a multiple of; may be empty."""
    intervals = [bar_type.spec.get_interval_ns() for bar_type in stored]
    longest = max((length for length in intervals if interval_ns % length == 0), default=None)
    return [bar_type for bar_type, length in zip(stored, intervals, strict=True) if length == longest]
