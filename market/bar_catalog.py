"""Bars from a NautilusTrader data catalog; imports nautilus_trader, like market/catalog.py."""

from pathlib import Path

import numpy as np
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import BarAggregation
from nautilus_trader.model.objects import FIXED_PRECISION
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.persistence.funcs import urisafe_identifier
from numpy.typing import NDArray

from market.bars import PRICES, Bars
from market.trades import BadData, Instrument

TIMES = (BarAggregation.SECOND, BarAggregation.MINUTE, BarAggregation.HOUR, BarAggregation.DAY)
"""What of a bar's kinds has a length in time that is always the same."""


def load_catalog_bars(path: Path, instrument_id: str | None = None, interval_ns: int | None = None) -> Bars:
    """Read the bars of one instrument and one bar type from a ``ParquetDataCatalog``.

    Parameters
    ----------
    path : Path
        The catalog's root, which holds ``data/bar/``.
    instrument_id : str, optional
        Which instrument, ``BTCUSDT.BINANCE``; may be left out where only one has bars.
    interval_ns : int, optional
        Which bars: those of this length where there are such, else the longest that it is a multiple
        of, for `market.bar_aggregate`. May be left out where the instrument has bars of one length.

    Returns
    -------
    Bars
        Not checked yet: see `market.bar_checks`. Their ``ts_event`` is the catalog's, by
        NautilusTrader's convention the close.

    Raises
    ------
    BadData
        No bars of seconds, minutes, hours or days there, or the choice is open; lists what there is.
    """
    chosen = _choose(path, instrument_id, interval_ns)
    bars = ParquetDataCatalog(path).bars([str(chosen)])
    try:
        return _to_arrays(f"{path.name} ({chosen})", chosen.spec.get_interval_ns(), bars)
    except OverflowError as error:
        raise BadData(f"{path.name}: {chosen}: values below 2**63 smallest steps expected, was {error}") from error


def _choose(path: Path, instrument_id: str | None, interval_ns: int | None) -> BarType:
    """The one bar type that was asked for, as its folder is named: without the slash of ``AUD/USD``."""
    stored = [_bar_type(path, folder) for folder in sorted(path.glob("data/bar/*")) if any(folder.glob("*.parquet"))]
    if not stored:
        raise BadData(f"{path.name}: a NautilusTrader catalog with bars expected, was without data/bar")
    fitting = [bar_type for bar_type in stored if bar_type.spec.aggregation in TIMES]
    wanted = "one kind of bars of seconds, minutes, hours or days"
    if instrument_id is not None:
        fitting = [found for found in fitting if found.instrument_id.value == urisafe_identifier(instrument_id)]
        wanted += f" of {instrument_id}"
    if interval_ns is not None:
        fitting = _longest_that_divide(fitting, interval_ns)
        wanted += f" that make up {interval_ns / 1e9:g} s"
    if len(fitting) != 1:
        was = "several" if fitting else "none"
        names = ", ".join(map(str, fitting or stored))
        raise BadData(f"{path.name}: {wanted} expected, was {was} of {names}")
    return fitting[0]


def _bar_type(path: Path, folder: Path) -> BarType:
    try:
        return BarType.from_str(folder.name)
    except ValueError as error:
        raise BadData(f"{path.name}: bar types in data/bar expected, was {folder.name!r}") from error


def _longest_that_divide(stored: list[BarType], interval_ns: int) -> list[BarType]:
    """Bar types of the greatest interval that ``interval_ns`` is a multiple of; empty where there is none."""
    intervals = [bar_type.spec.get_interval_ns() for bar_type in stored]
    longest = max((length for length in intervals if interval_ns % length == 0), default=None)
    return [bar_type for bar_type, length in zip(stored, intervals, strict=True) if length == longest]


def _to_arrays(source: str, interval_ns: int, bars: list[Bar]) -> Bars:
    first = bars[0]
    instrument_id = first.bar_type.instrument_id
    price_precision, size_precision = first.open.precision, first.volume.precision
    price_step = 10 ** (FIXED_PRECISION - price_precision)  # raw values are fixed-point, 128 bits wide
    size_step = 10 ** (FIXED_PRECISION - size_precision)

    def steps(name: str) -> NDArray[np.int64]:
        return np.array([getattr(bar, name).raw // price_step for bar in bars], dtype=np.int64)

    return Bars(
        instrument=Instrument(instrument_id.symbol.value, instrument_id.venue.value, price_precision, size_precision),
        source=source,
        simulated=False,
        interval_ns=interval_ns,
        ts_event=np.array([bar.ts_event for bar in bars], dtype=np.int64),
        catalog=None,
        **{name: steps(name) for name in PRICES},
        volume=np.array([bar.volume.raw // size_step for bar in bars], dtype=np.int64),
    )
