"""Refuses backtests in which simulated time ran backwards.

NautilusTrader before 1.223 collects the time alerts up to the next datum before it runs the first of them. An alert
that the handler of one of these sets for a time before that datum therefore runs after it, with the clock turned back:
an order that is sent then fills at a later price, stamped with the earlier time. Bars that the engine aggregates by
time (``1-MINUTE-LAST-INTERNAL``) are closed by a timer, so every alert that ``on_bar`` sets is such an alert.

Live clocks run every alert at its time.
"""

from collections.abc import Iterable

import nautilus_trader
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.cache.base import CacheFacade
from nautilus_trader.common.component import Clock, TestClock
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import OrderSide, OrderType
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.user_error import UserError

ORDERED_SINCE = (1, 223)
"""First NautilusTrader version whose backtests run all alerts in order of time."""
REMEDY = "set alerts from data handlers only, or use NautilusTrader 1.223 or later (Python 3.12)"


class TimeReversed(UserError):
    """An action at a simulated time before data that had been processed already."""


class ImpossibleFill(UserError):
    """An order was filled at a better price than the quote of its time."""


def are_alerts_in_order(version: str = nautilus_trader.__version__) -> bool:
    """Return whether backtests of a NautilusTrader version run alerts that other alerts' handlers set in time."""
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) >= ORDERED_SINCE


def check_bar_types(bar_types: Iterable[BarType], clock: Clock) -> None:
    """Refuse bars that a backtest's engine closes by a timer, where what follows from them would come too late.

    Raises
    ------
    BadSetting
        One of the types is aggregated by the engine, in a backtest of NautilusTrader before 1.223.
    """
    if not isinstance(clock, TestClock) or are_alerts_in_order():
        return
    for bar_type in bar_types:
        if bar_type.is_internally_aggregated() and bar_type.spec.is_time_aggregated():
            raise BadSetting(
                f"expected EXTERNAL bars in a backtest on NautilusTrader {nautilus_trader.__version__}, got "
                f"{bar_type}: predictions on bars that its engine aggregates take effect after the next datum, with "
                "the clock turned back; aggregate the bars before the run (docs/nautilus_versions.md), or use "
                "NautilusTrader 1.223 or later (Python 3.12)"
            )


def check_time(clock: Clock, cache: CacheFacade, instrument_id: InstrumentId) -> None:
    """Refuse to act in a backtest at a time before market data of the instrument that were processed already.

    Raises
    ------
    TimeReversed
        There are such data.
    """
    if not isinstance(clock, TestClock):
        return
    now_ns, newest_ns = clock.timestamp_ns(), _newest_ns(cache, instrument_id)
    if newest_ns > now_ns:
        raise TimeReversed(
            f"expected {instrument_id} data up to the clock's {now_ns} ns, got some of {newest_ns} ns: an alert that "
            f"another alert's handler had set ran late, with the clock turned back; {REMEDY}"
        )


def watch_fills(engine: BacktestEngine, check_prices: bool = True) -> None:
    """Have a run end at the first fill that the quotes of its time do not explain; to be called before the run.

    A fill is explained where no data of the instrument are later than it, and where a market order's price is not
    better than the newest quote. Otherwise the run raises `TimeReversed` or `ImpossibleFill`.

    Parameters
    ----------
    check_prices : bool
        False where orders meet quotes that have not been received yet, see
        `trading.backtest.venue_fills`.
    """
    cache = engine.kernel.cache

    def check(fill: OrderFilled) -> None:
        newest_ns = _newest_ns(cache, fill.instrument_id)
        if newest_ns > fill.ts_event:
            raise TimeReversed(
                f"expected fills of {fill.instrument_id} at quotes of their time, got one stamped {fill.ts_event} ns "
                f"after data of {newest_ns} ns: the order was sent by an alert that another alert's handler had set; "
                f"{REMEDY}"
            )
        quote, trade = cache.quote_tick(fill.instrument_id), cache.trade_tick(fill.instrument_id)
        if not check_prices or quote is None or fill.order_type != OrderType.MARKET:
            return
        if trade is not None and trade.ts_init > quote.ts_init:
            return  # trades move the book between quotes
        is_buy = fill.order_side == OrderSide.BUY
        if fill.last_px < quote.ask_price if is_buy else fill.last_px > quote.bid_price:
            side, price = ("BUY", quote.ask_price) if is_buy else ("SELL", quote.bid_price)
            raise ImpossibleFill(
                f"expected the {side} of {fill.instrument_id} at {fill.ts_event} ns to fill at {price}, the quote of "
                f"{quote.ts_init} ns, or worse, got {fill.last_px}: a trade that followed its quote at one time had "
                "moved the book; put quotes after trades of the same time"
            )

    engine.kernel.msgbus.subscribe(topic="events.fills.*", handler=check)


def _newest_ns(cache: CacheFacade, instrument_id: InstrumentId) -> int:
    """Return ``ts_init`` of an instrument's newest quote or trade that was processed, Unix ns.

    Where there is neither, of its newest bar, and 0 without any: this is called with every prediction.
    """
    quote, trade = cache.quote_tick(instrument_id), cache.trade_tick(instrument_id)
    if quote is not None:
        return quote.ts_init if trade is None else max(quote.ts_init, trade.ts_init)
    if trade is not None:
        return trade.ts_init
    bars = (cache.bar(bar_type) for bar_type in cache.bar_types(instrument_id=instrument_id))
    return max((bar.ts_init for bar in bars), default=0)
