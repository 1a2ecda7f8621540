"""Orders of a backtest meet the quotes of their own time, whatever set the alert that sent them, or the run is refused.

On NautilusTrader before 1.223 an alert that another alert's handler sets runs too late; from 1.223 on it does not, and
the same runs have to end well.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import FillModel
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import LiveClock, TestClock, TimeEvent
from nautilus_trader.config import LoggingConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, BarType, QuoteTick, TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, OmsType, OrderSide
from nautilus_trader.model.identifiers import TradeId
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.model.orders import Order
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy
from small_trades import MS, START

from nautilus_torchserve.market.trades.trades import Instrument
from nautilus_torchserve.trading.backtest.simulated_time import (
    ImpossibleFill,
    TimeReversed,
    are_alerts_in_order,
    check_bar_types,
    watch_fills,
)
from nautilus_torchserve.trading.bars.actor import BarInferenceActor, BarInferenceActorConfig
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.instruments import perpetual
from nautilus_torchserve.trading.prediction import Prediction, prediction_type
from nautilus_torchserve.trading.prediction_strategy import PredictionStrategy, PredictionStrategyConfig
from nautilus_torchserve.wire.errors import RequestError
from strategies.bar_strategy import BarStrategy, BarStrategyConfig

SECOND = 1_000 * MS
INSTRUMENT = perpetual(Instrument("BTCUSDT", "BINANCE", 2, 3), fee_bps=0.0)
SIZE = Quantity(1, 3)
INTERNAL = BarType.from_str(f"{INSTRUMENT.id}-1-SECOND-BID-INTERNAL")
CENTS = (10_000, 20_000, 15_000, 30_000, 12_000, 25_000)
"""Bids, second by second."""


def quotes(times_ns: Sequence[int], cents: Sequence[int] = CENTS) -> list[QuoteTick]:
    """Quotes a cent wide at these times after `START`."""
    return [
        QuoteTick(
            INSTRUMENT.id, Price(bid / 100, 2), Price((bid + 1) / 100, 2), SIZE, SIZE, START + ts_ns, START + ts_ns
        )
        for ts_ns, bid in zip(times_ns, cents, strict=False)
    ]


def run(
    data: Sequence[Sequence[Data]], strategy: Strategy, actors: Sequence[Actor] = (), watched: bool = False
) -> list[Order]:
    """Run them in an engine as a user sets it up; the filled orders, in order of time."""
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    try:
        engine.add_venue(
            INSTRUMENT.id.venue,
            OmsType.NETTING,
            AccountType.MARGIN,
            starting_balances=[Money(100_000, INSTRUMENT.quote_currency)],
            fill_model=FillModel(),
            trade_execution=False,
            bar_execution=False,
        )
        engine.add_instrument(INSTRUMENT)
        for actor in actors:
            engine.add_actor(actor)
        engine.add_strategy(strategy)
        for item in data:
            engine.add_data(list(item))
        if watched:
            watch_fills(engine)
        engine.run()
        return sorted((order for order in engine.cache.orders() if order.is_closed), key=lambda order: order.ts_init)
    finally:
        engine.dispose()


def fills_in_time(orders: Sequence[Order], data: Sequence[QuoteTick]) -> bool:
    """Whether each order was filled when it was sent, at the quote of that time."""
    times = np.array([quote.ts_init for quote in data])
    for order in orders:
        quote = data[int(np.searchsorted(times, order.ts_init, side="right")) - 1]
        price = quote.ask_price if order.side == OrderSide.BUY else quote.bid_price
        if order.ts_last != order.ts_init or order.avg_px != price.as_double():
            return False
    return True


def refused_before_1223() -> AbstractContextManager[object]:
    """Return the result of a run with an alert that another alert's handler sets."""
    if are_alerts_in_order():
        return nullcontext()
    return pytest.raises(TimeReversed, match=r"NautilusTrader 1\.223 or later")


class NestedAlerts(PredictionStrategy):
    """A user's own strategy, which orders from an alert that an alert has set."""

    def on_start(self) -> None:
        super().on_start()
        self.clock.set_time_alert_ns("first", START + 1_200 * MS, self._on_first)

    def _on_first(self, event: TimeEvent) -> None:
        self.clock.set_time_alert_ns("second", event.ts_event + 300 * MS, self._on_second)

    def _on_second(self, event: TimeEvent) -> None:
        self.order(OrderSide.BUY, Decimal("0.010"), prediction(event.ts_event, event.ts_event))


class PlainNestedAlerts(Strategy):
    """The same with NautilusTrader's own classes only."""

    def on_start(self) -> None:
        self.clock.set_time_alert_ns("first", START + 1_200 * MS, self._on_first)

    def _on_first(self, event: TimeEvent) -> None:
        self.clock.set_time_alert_ns("second", event.ts_event + 300 * MS, self._on_second)

    def _on_second(self, event: TimeEvent) -> None:
        self.submit_order(self.order_factory.market(INSTRUMENT.id, OrderSide.BUY, Quantity(0.01, 3)))


class AtOnce(Strategy):
    """Orders with an alert that it has set at the start."""

    def on_start(self) -> None:
        self.clock.set_time_alert_ns("only", START + 1_500 * MS, self._on_alert)

    def _on_alert(self, event: TimeEvent) -> None:
        self.submit_order(self.order_factory.market(INSTRUMENT.id, OrderSide.BUY, Quantity(0.01, 3)))


class PublishesOnBars(Actor):
    """A user's own actor: on each bar that the engine closes it publishes a prediction that takes a while."""

    def __init__(self, delay_ns: int = 10 * MS) -> None:
        super().__init__()
        self._delay_ns = delay_ns

    def on_start(self) -> None:
        self.subscribe_bars(INTERNAL)

    def on_bar(self, bar: Bar) -> None:
        due = bar.ts_init + self._delay_ns
        published = prediction(bar.ts_event, due, 5.0 if bar.ts_event // SECOND % 2 else -5.0)
        self.clock.set_time_alert_ns(
            f"{due}", due, lambda _: self.publish_data(prediction_type(INSTRUMENT.id), published)
        )


class PublishesOnQuotes(PublishesOnBars):
    """Sets alerts in data handlers, as required."""

    def on_start(self) -> None:
        self.subscribe_quote_ticks(INSTRUMENT.id)

    def on_quote_tick(self, tick: QuoteTick) -> None:
        due = tick.ts_init + self._delay_ns
        published = prediction(tick.ts_event, due, 5.0 if tick.bid_price.raw // 10**14 % 2 else -5.0)
        self.clock.set_time_alert_ns(
            f"{due}", due, lambda _: self.publish_data(prediction_type(INSTRUMENT.id), published)
        )


def prediction(ts_event: int, ts_init: int, return_bps: float = 5.0) -> Prediction:
    return Prediction(
        ts_event=ts_event,
        ts_init=ts_init,
        instrument_id=INSTRUMENT.id,
        model="price",
        version="1.0",
        archive_digest="0123456789abcdef",
        outputs={"price": 100.0, "return_bps": return_bps, "sigma_bps": 5.0, "confidence": 0.6},
        feature_ts=ts_event,
        latency_ns=100_000,
    )


def bar_strategy(horizon_ns: int = SECOND) -> BarStrategy:
    return BarStrategy(
        BarStrategyConfig(
            instrument_id=INSTRUMENT.id, trade_size=Decimal("0.01"), horizon_ns=horizon_ns, max_age_ns=100 * MS
        )
    )


EVERY_SECOND = quotes([count * SECOND for count in range(6)])
BETWEEN = quotes([count * SECOND + 500 * MS for count in range(6)])
"""Bars close between quotes, so that a timer closes them before the next datum."""


def test_an_order_from_an_alert_that_an_alert_has_set_meets_the_quote_of_its_time_or_ends_the_run() -> None:
    strategy = NestedAlerts(PredictionStrategyConfig(instrument_id=INSTRUMENT.id, trade_size=Decimal("0.01")))

    with refused_before_1223():
        order, _ = run([EVERY_SECOND], strategy)
        assert (order.ts_last, order.avg_px) == (START + 1_500 * MS, 200.01)


def test_such_an_alert_is_in_time_where_a_datum_comes_before_it() -> None:
    strategy = NestedAlerts(PredictionStrategyConfig(instrument_id=INSTRUMENT.id, trade_size=Decimal("0.01")))

    order, _ = run([quotes([0, SECOND, 1_400 * MS, 2 * SECOND])], strategy)

    assert (order.ts_last, order.avg_px) == (START + 1_500 * MS, 150.01)


def test_a_watched_run_ends_at_a_strangers_order_from_such_an_alert() -> None:
    with refused_before_1223():
        (order,) = run([EVERY_SECOND], PlainNestedAlerts(StrategyConfig()), watched=True)
        assert (order.ts_last, order.avg_px) == (START + 1_500 * MS, 200.01)


def test_predictions_on_bars_that_the_engine_closes_are_traded_in_time_or_end_the_run() -> None:
    with refused_before_1223():
        orders = run([BETWEEN], bar_strategy(), [PublishesOnBars()])
        assert len(orders) >= 4
        assert fills_in_time(orders, BETWEEN)


@pytest.mark.parametrize("name", [str(INTERNAL), f"{INSTRUMENT.id}-5-MINUTE-LAST-INTERNAL@1-MINUTE-EXTERNAL"])
def test_bar_actor_refuses_internal_bars_whose_predictions_would_be_late(name: str) -> None:
    config = BarInferenceActorConfig(
        bar_types=[BarType.from_str(name)], max_gap_ns=SECOND, url="http://127.0.0.1:9", timeout_s=0.1
    )
    refusal = RequestError if are_alerts_in_order() else BadSetting  # it goes on to ask a server that is not there

    with pytest.raises(refusal, match=None if are_alerts_in_order() else f"expected EXTERNAL bars .* got {name}"):
        run([BETWEEN], bar_strategy(), [BarInferenceActor(config)])


def test_bars_from_outside_and_those_of_a_live_run_are_not_refused() -> None:
    check_bar_types([BarType.from_str(f"{INSTRUMENT.id}-1-MINUTE-LAST-EXTERNAL")], TestClock())
    check_bar_types([INTERNAL], LiveClock())


def test_bars_that_are_not_made_by_time_are_refused() -> None:
    with pytest.raises(BadSetting, match="expected bar_types by time, got 100-TICK-LAST"):
        BarInferenceActorConfig(
            bar_types=[BarType.from_str(f"{INSTRUMENT.id}-100-TICK-LAST-INTERNAL")], max_gap_ns=1, url="http://x"
        )


def test_a_watched_run_ends_at_a_fill_better_than_the_quote() -> None:
    """The one-level book moves with every trade, also where trades execute nothing."""
    quote = EVERY_SECOND[1]
    trade = TradeTick(
        INSTRUMENT.id, Price(50, 2), SIZE, AggressorSide.SELLER, TradeId("1"), quote.ts_event, quote.ts_init
    )

    (order,) = run([[trade], EVERY_SECOND], AtOnce(StrategyConfig()), watched=True)
    assert order.avg_px == 200.01
    with pytest.raises(ImpossibleFill, match="put quotes after trades of the same time"):
        run([EVERY_SECOND, [trade]], AtOnce(StrategyConfig()), watched=True)


@pytest.mark.parametrize(
    ("version", "in_order"),
    [("1.221.0", False), ("1.222.0", False), ("1.223.0", True), ("1.231.0", True), ("1.99.0", False), ("2.0.0", True)],
)
def test_versions_that_run_alerts_in_order(version: str, in_order: bool) -> None:
    assert are_alerts_in_order(version) is in_order


def test_a_position_is_closed_at_the_open_after_a_gap_that_its_signal_stood_before() -> None:
    gap = quotes([0, SECOND, 2 * SECOND, 3 * 10**5 * SECOND, 3 * 10**5 * SECOND + SECOND])

    orders = run([gap], bar_strategy(), [PublishesOnQuotes()])

    assert fills_in_time(orders, gap)
    closing = next(order for order in orders if order.ts_init > START + 3 * SECOND)
    assert closing.ts_last == gap[3].ts_init


@settings(max_examples=25, deadline=None)
@given(
    gaps_ms=st.lists(st.integers(1, 3_000), min_size=3, max_size=20),
    cents=st.lists(st.integers(10_000, 11_000), min_size=20, max_size=20),
    delay_ms=st.integers(0, 90),
    horizon_ms=st.integers(1, 4_000),
)
def test_every_order_on_predictions_meets_the_quote_of_its_time(
    gaps_ms: list[int], cents: list[int], delay_ms: int, horizon_ms: int
) -> None:
    data = quotes(np.cumsum(gaps_ms) * MS, cents)

    orders = run([data], bar_strategy(horizon_ms * MS), [PublishesOnQuotes(delay_ms * MS)], watched=True)

    assert fills_in_time(orders, data)
