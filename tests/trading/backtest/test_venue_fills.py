"""Market orders meet the quotes in force at the venue, however late its trades are received."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.trades import Instrument, Trades
from nautilus_torchserve.trading.backtest.engine import built, run_config
from nautilus_torchserve.trading.instruments.instruments import (
    implied,
    perpetual,
    quote_ticks,
    to_quote_ticks,
    trade_ticks,
)

MS = 10**6
START = 1_700_000_000 * 10**9
BTC = Instrument("BTCUSDT", "TEST", 2, 3)


class Alternating(Strategy):
    """Buys and sells by turns, with each trade that it receives or some time after it."""

    def __init__(self, instrument_id: object, wait_ns: int, quantity: str) -> None:
        super().__init__(StrategyConfig())
        self.instrument_id, self.wait_ns, self.quantity, self.sent = instrument_id, wait_ns, quantity, 0

    def on_start(self) -> None:
        self.subscribe_trade_ticks(self.instrument_id)

    def on_trade_tick(self, tick: TradeTick) -> None:
        due = tick.ts_init + self.wait_ns
        if self.wait_ns and str(due) not in self.clock.timer_names:
            self.clock.set_time_alert_ns(str(due), due, lambda event: self.send())
        elif not self.wait_ns:
            self.send()

    def send(self) -> None:
        side = OrderSide.SELL if self.sent % 2 else OrderSide.BUY
        quantity = self.cache.instrument(self.instrument_id).make_qty(self.quantity)
        self.submit_order(self.order_factory.market(self.instrument_id, side, quantity))
        self.sent += 1


def fills_of(
    trades: Trades, wait_ns: int = 1, quantity: str = "0.001", quotes: Quotes | None = None, is_late: bool = True
) -> pd.DataFrame:
    """Return the fill prices of such a strategy, by the venue's quotes or those that the trades imply."""
    instrument = perpetual(trades.instrument, 0.0)
    fills: list[OrderFilled] = []
    met = {instrument.id: quotes or implied(trades)} if quotes or is_late else {}
    with built(run_config([instrument], None, [], [], Decimal(10**9)), [instrument], met) as (_, engine):
        engine.add_strategy(Alternating(instrument.id, wait_ns, quantity))
        engine.kernel.msgbus.subscribe(topic="events.fills.*", handler=fills.append)
        data = (
            [trade_ticks(trades), quote_ticks(trades)]
            if quotes is None
            else [to_quote_ticks(quotes), trade_ticks(trades)]
        )
        for ticks in data:
            engine.add_data(ticks)
        engine.run()
    return pd.DataFrame(
        {
            "ts_ns": [fill.ts_event for fill in fills],
            "side": [fill.order_side.name for fill in fills],
            "price": [fill.last_px.as_double() for fill in fills],
            "quantity": [fill.last_qty.as_double() for fill in fills],
        }
    )


def made(ts_event: np.ndarray, ts_init: np.ndarray, price: np.ndarray, side: np.ndarray, size: int = 1000) -> Trades:
    count = len(price)
    return Trades(
        BTC,
        "made",
        True,
        ts_event,
        ts_init,
        price,
        np.full(count, size),
        side.astype(np.int8),
        np.arange(count).astype(str),
    )


def quotes_around(trades: Trades, offset: int) -> Quotes:
    """Real quotes at the trades' times, some steps away from the trades' prices, of a size of 1."""
    price, size = trades.price + offset, np.full(len(trades), 1000)
    return Quotes(trades.instrument, "made", trades.ts_event, trades.ts_init, price - 3, price + 2, size, size)


def ramp(delay_ns: int) -> Trades:
    """Each 100 ms a buyer pays a step more."""
    ts_event = START + 100 * MS * np.arange(60)
    return made(ts_event, ts_event + delay_ns, 10_000 + np.arange(60), np.ones(60))


@pytest.mark.parametrize("delay_ms", [0, 5, 99, 200, 1_000])
def test_a_slow_feed_costs_what_the_market_moves_meanwhile(delay_ms: int) -> None:
    trades = ramp(delay_ms * MS)

    fills = fills_of(trades)

    bought = fills[fills["side"] == "BUY"]
    moved = (bought["ts_ns"].to_numpy() - START) // (100 * MS)  # at the venue, not as received
    np.testing.assert_array_equal(np.round(bought["price"] * 100), 10_000 + np.minimum(moved, 59) + 1)
    received = (bought["ts_ns"].to_numpy() - delay_ms * MS - START) // (100 * MS)
    assert (moved - received == delay_ms // 100).all()
    assert len(bought) == 30


MOVES = st.tuples(
    st.integers(-5, 5), st.sampled_from([-1, 0, 1]), st.sampled_from([0, 1, 40, 250]), st.integers(0, 300)
)


@settings(max_examples=12, deadline=None)
@given(
    moves=st.lists(MOVES, min_size=2, max_size=40),
    wait_ns=st.sampled_from([1, 10 * MS, 150 * MS]),
    quantity=st.sampled_from(["0.500", "3.000"]),
    offset=st.sampled_from([None, 0, 250]),
)
def test_every_fill_is_at_the_quote_in_force_at_the_venue(
    moves: list[tuple[int, int, int, int]], wait_ns: int, quantity: str, offset: int | None
) -> None:
    steps, sides, gaps_ms, delays_ms = (np.array(column) for column in zip(*moves, (0, 1, 1_000, 0), strict=True))
    ts_event = START + MS * np.cumsum(gaps_ms)
    ts_init = np.maximum.accumulate(ts_event + MS * delays_ms)
    trades = made(ts_event, ts_init, 10_000 + np.cumsum(steps), sides)

    quotes = None if offset is None else quotes_around(trades, offset)

    fills = fills_of(trades, wait_ns, quantity, quotes)

    met = quotes or implied(trades)
    bid, ask, ts_event = met.bid_price, met.ask_price, met.ts_event
    last = np.searchsorted(ts_event, fills["ts_ns"].to_numpy(), side="right") - 1
    price = np.round(fills["price"].to_numpy() * 100)
    worse = np.where(fills["side"] == "BUY", price - ask[last], bid[last] - price)
    first_of_its_order = np.diff(fills["ts_ns"], prepend=0) > 0
    assert len(fills)
    assert set(worse[first_of_its_order]) == {1}
    assert set(worse[~first_of_its_order]) == ({2} if quantity == "3.000" else set())


def test_without_delay_the_rule_is_that_of_the_engine() -> None:
    random = np.random.default_rng(1)
    ts_event = START + MS * np.cumsum(random.integers(0, 50, 100))
    trades = made(ts_event, ts_event, 10_000 + np.cumsum(random.integers(-3, 4, 100)), random.choice([-1, 1], 100))

    for quantity in ("0.500", "3.000"):
        pd.testing.assert_frame_equal(
            fills_of(trades, 2 * MS, quantity), fills_of(trades, 2 * MS, quantity, is_late=False), check_exact=True
        )
