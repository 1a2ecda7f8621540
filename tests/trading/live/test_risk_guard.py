"""The guard halts trading at its limits, on the P&L that the account shows, in NautilusTrader's own engine."""

import shutil
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.data import CustomData, TradeTick
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import ClientId, InstrumentId
from nautilus_trader.model.objects import Money
from nautilus_trader.model.orders import Order

from nautilus_torchserve.market.trades.trades import Instrument, Trades
from nautilus_torchserve.trading.instruments.instruments import perpetual, quote_ticks, trade_ticks
from nautilus_torchserve.trading.live.risk.guard import (
    RiskGuard,
    TradingDay,
    TradingHalted,
    begin_day,
    utc_day,
)
from nautilus_torchserve.trading.live.settings import RiskSettings
from nautilus_torchserve.trading.prediction import Prediction, prediction_type
from strategies.tick_strategy import TickStrategy, TickStrategyConfig

S = 10**9
NOON = 1_700_049_600 * S
"""12:00 UTC of 2023-11-15."""
BALANCE = 100_000


class Run(NamedTuple):
    """The results of a run."""

    guard: RiskGuard
    reasons: list[str]
    """Reasons that ``on_halt`` was called with."""
    quantities: list[Decimal]
    """Signed quantities of the orders."""
    balance: Decimal
    """Balance of the account at the end."""
    open_positions: int


def falling(start_ns: int, seconds: int = 100) -> Trades:
    """Return one trade a second, each 10 USDT below the one before it, from 50,000 on."""
    ts = start_ns + np.arange(seconds, dtype=np.int64) * S
    return Trades(
        instrument=Instrument("BTCUSDT", "BINANCE", 2, 3),
        source="falling market",
        simulated=True,
        ts_event=ts,
        ts_init=ts,
        price=5_000_000 - 1_000 * np.arange(seconds),
        size=np.full(seconds, 10_000),
        side=np.full(seconds, -1, dtype=np.int8),
        trade_id=np.arange(seconds).astype(str),
    )


def run(
    trades: Trades,
    day: TradingDay | None = None,
    on_trade: Callable[[TradeTick], None] = lambda trade: None,
    beside: Sequence[Instrument] = (),
    **limits: object,
) -> Run:
    """Buy 1 BTC with the second trade and hold it, with a risk guard."""
    instrument = perpetual(trades.instrument, fee_bps=1.0)
    others = [perpetual(other, fee_bps=1.0) for other in beside]
    first = int(trades.ts_event[0])
    reasons: list[str] = []
    settings = RiskSettings(check_every_ms=500, **limits)
    guard = RiskGuard(
        [traded.id for traded in (instrument, *others)], settings, day or TradingDay(utc_day(first)), reasons.append
    )
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(log_level="OFF")))
    try:
        engine.add_venue(
            instrument.id.venue, OmsType.NETTING, AccountType.MARGIN, trade_execution=False,
            starting_balances=[Money(BALANCE, instrument.quote_currency)],
        )  # fmt: skip
        for traded in (instrument, *others):
            engine.add_instrument(traded)
        engine.add_actor(guard)
        size = Decimal(1)
        engine.add_strategy(TickStrategy(TickStrategyConfig(instrument_id=instrument.id, trade_size=size)))
        engine.add_data(trade_ticks(trades))
        engine.add_data(quote_ticks(trades))
        buy = [CustomData(prediction_type(instrument.id), _buy(instrument.id, first + ns)) for ns in (S, 90 * S)]
        engine.add_data(buy, client_id=ClientId("TORCHSERVE"))
        engine.kernel.msgbus.subscribe(topic="data.trades.BINANCE.BTCUSDT", handler=on_trade)
        engine.run()
        account = engine.portfolio.account(instrument.id.venue)
        return Run(
            guard,
            reasons,
            [_signed(order) for order in sorted(engine.cache.orders(), key=lambda order: order.ts_init)],
            account.balance_total(instrument.quote_currency).as_decimal(),
            engine.cache.positions_open_count(),
        )
    finally:
        engine.dispose()


def _signed(order: Order) -> Decimal:
    quantity = order.quantity.as_decimal()
    return quantity if order.side == OrderSide.BUY else -quantity


def _buy(instrument_id: InstrumentId, ts_ns: int) -> Prediction:
    return Prediction(
        ts_event=ts_ns, ts_init=ts_ns, instrument_id=instrument_id, model="tick", version="1.0",
        archive_digest="0" * 64, outputs={"buy": 0.9, "sell": 0.05, "hold": 0.05}, feature_ts=ts_ns, latency_ns=0,
    )  # fmt: skip


def test_daily_loss_closes_the_position_and_is_remembered(tmp_path: Path) -> None:
    state = tmp_path / "day.json"

    done = run(falling(NOON), max_daily_loss=Decimal(300), state_file=str(state))

    assert done.quantities == [Decimal(1), Decimal(-1)]  # the second signal to buy opens nothing
    assert done.open_positions == 0
    assert len(done.reasons) == 1
    assert "daily loss of 30" in done.reasons[0]
    with pytest.raises(TradingHalted, match="daily loss"):
        begin_day(state, utc_day(NOON), resume=False)


def test_the_days_pnl_is_what_the_account_lost_with_fees() -> None:
    done = run(falling(NOON), max_daily_loss=Decimal(300))

    assert done.guard.pnl == done.balance - BALANCE
    assert done.guard.pnl < -300  # the fee of the closing order comes on top


def test_without_a_limit_nothing_is_halted() -> None:
    done = run(falling(NOON))

    assert done.reasons == []
    assert done.guard.pnl < -900


def test_losses_of_earlier_runs_of_the_day_count() -> None:
    day = TradingDay(utc_day(NOON), pnl=Decimal(-280))

    done = run(falling(NOON, seconds=20), day, max_daily_loss=Decimal(300))

    assert len(done.reasons) == 1
    assert done.balance > BALANCE - 40


def test_at_midnight_the_count_begins_again() -> None:
    before_midnight = NOON + 12 * 3600 * S - 25 * S

    done = run(falling(before_midnight, seconds=50), max_daily_loss=Decimal(400))

    assert done.reasons == []  # 230 lost on each of the days
    assert -400 < done.guard.pnl < -200
    assert done.balance - BALANCE < -400


def test_kill_file_halts(tmp_path: Path) -> None:
    kill = tmp_path / "kill"

    done = run(falling(NOON), on_trade=lambda tick: kill.touch() if tick.trade_id.value == "50" else None,
               kill_file=str(kill))  # fmt: skip

    assert done.reasons == [f"kill file {kill}"]
    assert done.quantities == [Decimal(1), Decimal(-1)]
    assert done.open_positions == 0


def test_a_guard_that_fails_halts(tmp_path: Path) -> None:
    folder = tmp_path / "state"

    def break_folder(tick: TradeTick) -> None:
        if tick.trade_id.value == "50":
            shutil.rmtree(folder)
            folder.touch()

    done = run(falling(NOON), on_trade=break_folder, state_file=str(folder / "day.json"))

    assert done.reasons == ["the risk guard failed, see the log"]
    assert done.open_positions == 0
    assert done.guard.handler_errors


def test_losses_in_several_currencies_are_not_added_up() -> None:
    with pytest.raises(RuntimeError, match="expected instruments settled in one currency, got EUR, USDT"):
        run(falling(NOON), beside=[Instrument("BTCEUR", "BINANCE", 2, 3)])
