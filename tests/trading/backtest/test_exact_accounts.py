"""The engine's own account, and the end of one that has nothing left, for every kind of instrument."""

from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import pytest
from bar_support import market
from contracts import CONTRACTS
from nautilus_trader.model.data import QuoteTick, TradeTick
from nautilus_trader.model.enums import AggressorSide, OrderSide
from nautilus_trader.model.events import OrderFilled
from nautilus_trader.model.identifiers import TradeId
from nautilus_trader.model.instruments import CryptoPerpetual, Instrument
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.trading.config import StrategyConfig
from nautilus_trader.trading.strategy import Strategy

from nautilus_torchserve.cli.sweep_console import result_table
from nautilus_torchserve.market.bars.bars import PRICES
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.engine import built, run_config
from nautilus_torchserve.trading.backtest.ledger import account_currency
from nautilus_torchserve.trading.backtest.recorder import Recorder
from nautilus_torchserve.trading.backtest.report import report_data, summary
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.decision import HALT_TOPIC, Halt
from nautilus_torchserve.trading.instruments.currencies import account_decimals

BALANCE = Decimal(1_000_000)
START, SECOND = 1_704_067_200_000_000_000, 1_000_000_000
QUOTES = 120


class ScriptedStrategy(Strategy):
    """Sends a market order after each quote: signed sizes in the instrument's steps, 0 for none."""

    def __init__(self, instrument: Instrument, sizes: list[int]) -> None:
        super().__init__(StrategyConfig())
        self.instrument, self.sizes = instrument, iter(sizes)

    def on_start(self) -> None:
        self.subscribe_quote_ticks(self.instrument.id)

    def on_quote_tick(self, tick: QuoteTick) -> None:
        if size := next(self.sizes, 0):
            steps = abs(size) * self.instrument.size_increment.as_decimal()
            side = OrderSide.BUY if size > 0 else OrderSide.SELL
            self.submit_order(self.order_factory.market(self.instrument.id, side, self.instrument.make_qty(steps)))


@dataclass
class EngineRun:
    """A run's ledger beside what the engine says."""

    recorder: Recorder
    engine_gain: float
    filled: list[OrderFilled]


def quotes_of(instrument: Instrument, seed: int, size: int) -> list[QuoteTick]:
    """A random walk of quotes, each with so many steps of size."""
    rng = np.random.default_rng(seed)
    tick = instrument.price_increment.as_decimal()
    middle = 30_000 + np.cumsum(rng.integers(-40, 41, QUOTES))
    quantity = Quantity(float(size * instrument.size_increment.as_decimal()), instrument.size_precision)
    return [
        QuoteTick(
            instrument.id,
            *(Price(float(int(at) * tick), instrument.price_precision) for at in (steps - 1, steps + 1)),
            quantity, quantity, START + number * SECOND, START + number * SECOND,
        )
        for number, steps in enumerate(middle)
    ]  # fmt: skip


def run(instrument: Instrument, sizes: list[int], quoted: int, start: Decimal = BALANCE) -> EngineRun:
    """Trade through quotes of some size: what exceeds it fills one step worse."""
    with built(run_config([instrument], None, [], [], start), [instrument]) as (_, engine):
        recorder = Recorder(engine.kernel.msgbus, [instrument], [], start)
        engine.add_strategy(ScriptedStrategy(instrument, sizes))
        engine.add_data(quotes_of(instrument, 1, quoted))
        engine.run()
        (account,) = engine.cache.accounts()
        balance = account.balance_total(account_currency(instrument))
        events = [event for order in engine.cache.orders() for event in order.events]
        filled = [event for event in events if isinstance(event, OrderFilled)]
        return EngineRun(recorder, float(balance.as_decimal() - start), filled)


@pytest.mark.parametrize("kind", CONTRACTS)
def test_engine_account_and_positions_agree(kind: str) -> None:
    """Partial closes, turns, many small fills.

    Two things the engine does otherwise than venues: it averages an inverse position's entry prices as if it were
    linear (here each is opened by one fill), and takes a quanto's fees in quote currency.
    """
    instrument = CONTRACTS[kind]
    rng = np.random.default_rng(2)
    if instrument.is_inverse:
        sizes, quoted = [size for _ in range(QUOTES // 6) for size in (3, -1, -2, -3, 1, 2)], 1000
    else:
        sizes, quoted = rng.integers(-9, 10, QUOTES - 20).tolist(), 4
    sizes.append(-sum(sizes))

    done = run(instrument, sizes, quoted)

    ledger = done.recorder.ledgers[instrument.id]
    assert ledger.position == 0
    assert len(ledger.fills) == len(done.filled) > 80
    fees = [float(fill.fee) for fill in ledger.fills]
    elsewhere = [event.commission.currency != account_currency(instrument) for event in done.filled]
    assert all(elsewhere) == any(elsewhere) == (kind == "quanto perpetual")
    expected = done.engine_gain - (sum(fees) if any(elsewhere) else 0)
    assert sum(fees) > 0
    assert float(ledger.gain) == pytest.approx(expected, abs=1e-8)
    assert sum(float(trip.pnl) for trip in ledger.round_trips) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("balance", [Decimal("0.01"), Decimal(10_000), Decimal(10**9)])
@pytest.mark.parametrize("kind", CONTRACTS)
def test_an_account_that_holds_margin_adds_up(kind: str, balance: Decimal) -> None:
    """NautilusTrader ends a run whose free money is not the total less the margin, to the last decimal."""
    values = {**type(CONTRACTS[kind]).to_dict(CONTRACTS[kind]), "margin_init": "0.01", "margin_maint": "0.005"}
    instrument = type(CONTRACTS[kind]).from_dict(values)
    sizes = np.random.default_rng(3).integers(-9, 10, QUOTES - 20).tolist()
    sizes.append(-sum(sizes))

    done = run(instrument, sizes, 1000, balance)

    ledger = done.recorder.ledgers[instrument.id]
    elsewhere = kind == "quanto perpetual"  # whose fees the engine takes in quote currency
    if not instrument.is_inverse:  # whose entry prices the engine averages otherwise
        rounding = len(ledger.fills) * 10.0 ** -account_decimals([instrument], balance)
        fees = sum(float(fill.fee) for fill in ledger.fills) if elsewhere else 0.0
        assert float(ledger.gain) == pytest.approx(done.engine_gain - fees, abs=1e-8 + rounding)
    assert len(ledger.fills) == len(done.filled) > 50


def test_an_order_that_is_refused_is_counted_with_its_reason() -> None:
    values = CryptoPerpetual.to_dict(CONTRACTS["linear perpetual"])
    instrument = CryptoPerpetual.from_dict({**values, "max_quantity": "0.050"})

    done = run(instrument, [100, 1], 1000)

    (reason,) = done.recorder.refusals_of(instrument.id)
    assert "0.05" in reason
    assert len(done.filled) == 1


class HaltableStrategy(ScriptedStrategy):
    """Closes its position when its venue is halted."""

    def on_start(self) -> None:
        super().on_start()
        self.msgbus.subscribe(topic=HALT_TOPIC, handler=self.on_halt)

    def on_halt(self, halt: Halt) -> None:
        assert halt.venue == self.instrument.id.venue
        self.close_all_positions(self.instrument.id)


def test_position_that_ruins_an_account_is_closed_at_the_following_quote() -> None:
    """A trade moves the engine's book to its price; the quote of its time, which sets it right, comes after it."""
    instrument = CONTRACTS["linear perpetual"]
    quotes = quotes_of(instrument, 1, 1000)[:3]
    trades = [
        TradeTick(
            instrument.id, Price(float(price), 1), instrument.make_qty(1), AggressorSide.SELLER, TradeId(f"{number}"),
            quotes[number].ts_event, quotes[number].ts_init,
        )
        for number, price in enumerate((15_000, 5_000, 5_000))
    ]  # fmt: skip
    quotes[1] = QuoteTick(
        instrument.id, Price(4_000.0, 1), Price(6_000.0, 1), quotes[1].bid_size, quotes[1].ask_size,
        quotes[1].ts_event, quotes[1].ts_init,
    )  # fmt: skip
    balance = Decimal(500)
    with built(run_config([instrument], None, [], [], balance), [instrument]) as (_, engine):
        recorder = Recorder(engine.kernel.msgbus, [instrument], [], balance)
        topic = f"data.trades.{instrument.id.venue}.{instrument.id.symbol}"
        engine.add_actor(recorder.guard({topic: instrument.id}))
        engine.add_strategy(HaltableStrategy(instrument, [100]))
        engine.add_data(trades, sort=False)
        engine.add_data(quotes)
        engine.run()

    bought, sold = recorder.ledgers[instrument.id].fills
    assert sold.ts_ns == recorder.ruins[instrument.id.venue].ts_ns == trades[1].ts_event
    assert sold.price == Decimal("3999.5")  # one step below the bid, not below the trade
    assert recorder.ruins[instrument.id.venue].equity == pytest.approx(
        float(500 + Decimal("0.1") * (5_000 - bought.price) - bought.fee), abs=1e-8
    )


@pytest.fixture(scope="module")
def ruined(bar_settings: BarBacktestSettings) -> tuple[BarBacktestSettings, BacktestResult]:
    """An account of 500 USD that turns a position of 6,000 USD nearly every minute, for 60 USD in fees."""
    settings = replace(
        bar_settings, starting_balance=Decimal(500), trade_size=Decimal("0.1"), cost_bps=0.0, fee_bps=50.0
    )
    return settings, run_backtest([market()], settings)


def test_ruined_account_stops_trading(ruined: tuple[BarBacktestSettings, BacktestResult]) -> None:
    settings, result = ruined
    (one,) = result.instruments

    assert one.ruin is not None
    assert one.ruin.equity <= 0
    assert one.data.ts_event[0] < one.ruin.ts_ns < one.data.ts_event[-1] - 100 * 60 * SECOND
    assert one.fills["ts_ns"].iloc[-1] <= one.ruin.ts_ns + SECOND
    signed = np.where(one.fills["side"] == "BUY", 1, -1) * one.fills["quantity"]
    assert signed.sum() == pytest.approx(0)
    assert one.account.end == result.balance == pytest.approx(one.equity["equity"].iloc[-1], abs=1e-8)
    assert -120 < result.balance <= 0  # what the last turn, the way to the market and its fee cost
    assert 5 < one.positions < 20
    data = report_data(settings, result, one)
    assert data.ruined_ns == one.ruin.ts_ns
    assert report_data(settings, result, one).notes[0].startswith("RUINED: equity of ")
    fields = summary(settings, result)
    assert fields["ruined"] == {"ts_ns": one.ruin.ts_ns, "equity": one.ruin.equity}
    assert "RUINED" in [cell for column in result_table(fields).columns for cell in column.cells]


def test_prefetch_ruins_an_account_at_the_same_moment(ruined: tuple[BarBacktestSettings, BacktestResult]) -> None:
    settings, result = ruined

    other = run_backtest([market()], replace(settings, mode="prefetch"))

    assert other.instruments[0].ruin == result.instruments[0].ruin
    assert other.balance == result.balance


def test_a_ruined_account_stops_its_own_venue_alone(ruined: tuple[BarBacktestSettings, BacktestResult]) -> None:
    settings, alone = ruined
    cheap = market(venue="ELSEWHERE")
    cheap = replace(cheap, **{name: getattr(cheap, name) // 1000 + 1 for name in PRICES})

    both = run_backtest([market(), cheap], settings)

    first, second = both.instruments
    assert first.ruin == alone.instruments[0].ruin == both.ruin
    assert second.ruin is None
    assert second.fills["ts_ns"].iloc[-1] > first.fills["ts_ns"].iloc[-1] + 50 * 60 * SECOND
    assert both.balance == pytest.approx(first.account.end + second.account.end, abs=1e-8)
