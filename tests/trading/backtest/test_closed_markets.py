"""Orders to a closed market wait for its open, whatever strategy sends them, and may be canceled until then."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial

import numpy as np
from bar_support import MINUTE, market, without
from nautilus_trader.common.component import TimeEvent
from nautilus_trader.model.enums import OrderSide, OrderStatus
from nautilus_trader.model.orders import Order
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.quotes import breaks
from nautilus_torchserve.trading.backtest.bars.catalog import bar_quote_ticks
from nautilus_torchserve.trading.backtest.closed_markets import ClosedMarkets
from nautilus_torchserve.trading.backtest.engine import built, run_config
from nautilus_torchserve.trading.instruments.instruments import perpetual

BARS = without(without(market("BTCUSDT", 40), 20, 30), 10, 15)
BREAKS = breaks(BARS)


class AnyStrategy(Strategy):
    """Calls functions at given times."""

    def __init__(self, plan: dict[int, Callable[["AnyStrategy"], None]]) -> None:
        super().__init__(StrategyConfig())
        self.plan = plan

    def on_start(self) -> None:
        for number, ts_ns in enumerate(self.plan):
            self.clock.set_time_alert_ns(f"alert-{number}", ts_ns, self.on_alert)

    def on_alert(self, event: TimeEvent) -> None:
        self.plan[event.ts_event](self)

    def send(self, side: OrderSide = OrderSide.BUY, quantity: str = "1.000") -> Order:
        (instrument,) = self.cache.instruments()
        order = self.order_factory.market(instrument.id, side, instrument.make_qty(Decimal(quantity)))
        self.submit_order(order)
        return order


def run(plan: dict[int, Callable[[AnyStrategy], None]], bars: Bars = BARS) -> tuple[list[Order], ClosedMarkets]:
    """The orders of such a strategy on quotes alone, in the order in which they were sent."""
    instrument = perpetual(bars.instrument, 0.0)
    with built(run_config([instrument], None, [], [], Decimal(10**10)), [instrument]) as (_, engine):
        engine.add_strategy(AnyStrategy(plan))
        closed = ClosedMarkets(engine, {instrument.id: breaks(bars)})
        engine.add_data(bar_quote_ticks(bars, instrument, 0.0))
        engine.run()
        return sorted(engine.cache.orders(), key=lambda order: order.ts_init), closed


def filled(order: Order) -> tuple[int, Decimal]:
    return order.ts_last, Decimal(str(order.avg_px))


def price(steps: int) -> Decimal:
    return Decimal(int(steps)) / 100


def test_at_any_time_of_a_break_an_order_waits_for_the_open_and_at_others_it_does_not() -> None:
    (first, second), (opens, reopens) = BREAKS.closed_ns.tolist(), BREAKS.open_ns.tolist()
    times = [first - 1, first, first + 10**7, opens - 1, opens, second + MINUTE, second + 2 * MINUTE, reopens]

    orders, closed = run(dict.fromkeys(times, AnyStrategy.send))

    opened = {opens: price(BARS.open[10]) + price(1), reopens: price(BARS.open[15]) + price(1)}
    assert filled(orders[0]) == (first - 1, price(BARS.open[9]) + price(1))
    assert [filled(order) for order in orders[1:5]] == 4 * [(opens, opened[opens])]
    assert [filled(order) for order in orders[5:]] == 3 * [(reopens, opened[reopens])]
    assert sum(closed.held.values()) == 5


def test_an_order_that_waits_may_be_canceled() -> None:
    closed_ns, open_ns = int(BREAKS.closed_ns[0]), int(BREAKS.open_ns[0])
    sent: list[Order] = []
    plan = {
        closed_ns + 1: lambda strategy: sent.extend(strategy.send() for _ in range(3)),
        closed_ns + 2: lambda strategy: strategy.cancel_order(sent[1]),
    }

    orders, _ = run(plan)

    by_id = {order.client_order_id: order for order in orders}
    first, second, third = (by_id[order.client_order_id] for order in sent)
    assert (second.status, second.ts_last, second.filled_qty) == (OrderStatus.CANCELED, closed_ns + 2, 0)
    assert [filled(order)[0] for order in (first, third)] == [open_ns, open_ns]


def test_an_order_of_any_size_fills_at_one_price() -> None:
    penny = replace(BARS, instrument=replace(BARS.instrument, symbol="SHIBUSDT", price_precision=8))
    sizes = ("0.001", "5000000000", "34000000000000")
    plan = {int(BARS.ts_event[3]) + at: partial(AnyStrategy.send, quantity=size) for at, size in enumerate(sizes)}

    orders, _ = run(plan, penny)

    opened = price(penny.open[4]) / 10**6
    assert [filled(order)[1] for order in orders] == 3 * [opened + Decimal("1e-8")]
    assert [len(order.trade_ids) for order in orders] == [1, 1, 1]


def test_a_market_without_breaks_is_never_closed() -> None:
    bars = market("BTCUSDT", 20)
    times = [int(ts) + shift for ts in bars.ts_event[2:9] for shift in (-1, 0, 1)]

    orders, closed = run(dict.fromkeys(times, AnyStrategy.send), bars)

    np.testing.assert_array_equal([order.ts_last for order in orders], times)
    assert not closed.held
