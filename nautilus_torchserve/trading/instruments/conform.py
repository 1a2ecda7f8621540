"""Conversion of market data to the steps of their instrument."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from math import gcd
from typing import Any, TypeVar

import numpy as np
from nautilus_trader.model.instruments import Instrument
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.quotes.quotes import Depth, Quotes
from nautilus_torchserve.market.trades import trades
from nautilus_torchserve.market.trades.trades import EXACT_INTEGERS, BadData, Trades
from nautilus_torchserve.trading.instruments.options import decimals

D = TypeVar("D", Trades, Bars, Quotes)
MarketData = Trades | Bars | Quotes
PRICE_COLUMNS: Mapping[type, Sequence[str]] = {
    Trades: ("price",),
    Bars: PRICES,
    Quotes: ("bid_price", "ask_price"),
    Depth: ("bid_price", "ask_price", "bid_prices", "ask_prices"),
}
SIZE_COLUMNS: Mapping[type, Sequence[str]] = {
    Trades: ("size",),
    Bars: ("volume",),
    Quotes: ("bid_size", "ask_size"),
    Depth: ("bid_size", "ask_size", "bid_sizes", "ask_sizes"),
}
"""Kind of data -> its columns of prices, and of sizes."""


def conform(data: D, instrument: Instrument) -> D:
    """Return the same values under the engine's name and in the engine's decimals; nothing is rounded.

    NautilusTrader refuses a trade or a quote whose decimals are not the instrument's. Bars' volumes are no orders, and
    keep their decimals where they have more of them.

    Raises
    ------
    BadData
        A price is not a whole number of ticks, or a trade's or quote's size is finer than the instrument's.
    """
    check_ticks(data, instrument)
    price_precision, size_precision = instrument.price_precision, instrument.size_precision
    known = data.instrument
    columns: dict[str, Any] = {
        name: _rescaled(data, name, known.price_precision, price_precision) for name in PRICE_COLUMNS[type(data)]
    }
    if isinstance(data, Bars):
        size_precision = max(size_precision, known.size_precision)
    columns |= {name: _rescaled(data, name, known.size_precision, size_precision) for name in SIZE_COLUMNS[type(data)]}
    named = trades.Instrument(instrument.id.symbol.value, instrument.id.venue.value, price_precision, size_precision)
    return replace(data, instrument=named, **columns)


def tick_steps(instrument: Instrument) -> int:
    """Return the tick in steps of 10**-price_precision."""
    return int(instrument.price_increment.as_decimal().scaleb(instrument.price_precision))


def check_ticks(data: MarketData, instrument: Instrument) -> None:
    """Refuse data with a price between two ticks."""
    tick = instrument.price_increment.as_decimal()
    for name in PRICE_COLUMNS[type(data)]:
        off = off_tick(getattr(data, name), data.instrument.price_precision, tick)
        if off.any():
            first = np.unravel_index(off.argmax(), off.shape)
            position = int(first[0])
            price = Decimal(int(getattr(data, name)[first])).scaleb(-data.instrument.price_precision)
            noun = "trade" if isinstance(data, Trades) else f"{name} of {type(data).__name__.lower()[:-1]}"
            raise BadData(
                f"{data.source}: {noun} {position + 1}: expected a multiple of {instrument.id}'s tick size {tick}, "
                f"got {price.normalize():f} ({off.sum()} such prices); --tick-size sets another one"
            )


def off_tick(price: NDArray[np.int64], precision: int, tick: Decimal) -> NDArray[np.bool_]:
    """Return which prices, in steps of 10**-precision [n], are not a whole number of ticks."""
    scale = max(decimals(tick), precision)
    step, factor = int(tick.scaleb(scale)), 10 ** (scale - precision)
    divisor = step // gcd(step, factor)  # price * factor % step == 0, without the product
    return price % divisor != 0 if divisor < EXACT_INTEGERS else price != 0


def _rescaled(data: MarketData, name: str, have: int, want: int) -> NDArray[np.int64]:
    """Return a column in steps of 10**-want instead of 10**-have."""
    values: NDArray[np.int64] = getattr(data, name)
    if want >= have:
        factor = 10 ** (want - have)
        if len(values) and int(values.max()) * factor >= 2**63:
            largest = Decimal(int(values.max())).scaleb(-have)
            raise BadData(f"{data.source}: expected a {name} below 2**63 steps of 1e-{want}, got {largest}")
        return values * factor
    whole, rest = np.divmod(values, 10 ** (have - want))
    if rest.any():
        first = np.unravel_index((rest != 0).argmax(), rest.shape)
        position, value = int(first[0]), Decimal(int(values[first])).scaleb(-have)
        raise BadData(
            f"{data.source}: {name} {position + 1}: expected at most {want} decimals, as the instrument is defined, "
            f"got {value}; --lot-size sets another step where the kind of instrument has one"
        )
    return whole
