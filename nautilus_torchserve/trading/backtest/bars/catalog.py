"""Conversion of bars to NautilusTrader's data: a catalog of bars and of the quotes around them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.model.data import Bar, BarType, QuoteTick
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import FIXED_PRECISION, PRICE_MAX, QUANTITY_MAX
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.quotes import bar_quotes
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.trading.instruments.conform import tick_steps
from nautilus_torchserve.trading.instruments.instruments import check_range, to_quote_ticks

QUOTED_SIZE = int(QUANTITY_MAX) - 1  # at the very largest, NautilusTrader's own rounding ends the process
"""Size on each side of a quote: bars hold no depth, so an order of any size fills at the quote."""


def bar_objects(bars: Bars, bar_type: BarType) -> list[Bar]:
    """Convert bars to NautilusTrader's, known when they close; whole steps stay exact.

    Raises
    ------
    BadData
        A price or a volume that NautilusTrader cannot hold.
    """
    instrument = bars.instrument
    price_precision, size_precision = instrument.price_precision, instrument.size_precision
    check_range(bars.source, "high", bars.high, price_precision, PRICE_MAX)
    check_range(bars.source, "volume", bars.volume, size_precision, QUANTITY_MAX)
    price_step = 10 ** (FIXED_PRECISION - price_precision)  # Python integers: raw values are 128 bits wide
    size_step = 10 ** (FIXED_PRECISION - size_precision)
    columns = (*(getattr(bars, name) for name in PRICES), bars.volume, bars.ts_event)
    return [
        Bar.from_raw(
            bar_type,
            open_ * price_step,
            high * price_step,
            low * price_step,
            close * price_step,
            price_precision,
            volume * size_step,
            size_precision,
            ts_event,
            ts_event,
        )
        for open_, high, low, close, volume, ts_event in zip(*(column.tolist() for column in columns), strict=True)
    ]


def bar_quote_ticks(bars: Bars, instrument: Instrument, spread_bps: float) -> list[QuoteTick]:
    """Return the quotes around the bars' prices, `market.bars.quotes`, with `QUOTED_SIZE` on both sides.

    Parameters
    ----------
    bars : Bars
        Conforming to the instrument; their volumes may be finer than its sizes.
    """
    around = bar_quotes(bars, spread_bps, tick_steps(instrument))
    steps = QUOTED_SIZE * 10**instrument.size_precision  # more than int64 holds
    size: Any = np.full(len(around.bid), steps, dtype=object)
    quoted = replace(bars.instrument, size_precision=instrument.size_precision)
    times = around.ts_event
    return to_quote_ticks(Quotes(quoted, bars.source, times, times, around.bid, around.ask, size, size))


def write_bar_catalog(bars: Bars, instrument: Instrument, bar_type: BarType, spread_bps: float, folder: Path) -> None:
    """Write instrument, bars and quotes into a `ParquetDataCatalog`, which a `BacktestNode` reads."""
    catalog = ParquetDataCatalog(folder)
    catalog.write_data([instrument])
    catalog.write_data(bar_quote_ticks(bars, instrument, spread_bps))
    catalog.write_data(bar_objects(bars, bar_type))
