"""Handlers' exceptions: logged and counted in a live run, raised in a backtest."""

import asyncio
from typing import Any

import pytest
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import LiveClock, MessageBus, TestClock, TimeEvent
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.identifiers import TraderId
from nautilus_trader.portfolio.portfolio import Portfolio

from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.instruments.instruments import trade_ticks
from nautilus_torchserve.trading.isolate_errors import isolate_errors


class Clumsy(Actor):
    """Fails at every second thing that it is given."""

    def __init__(self) -> None:
        super().__init__(ActorConfig())
        self.handler_errors = 0
        self.received: list[Any] = []

    @isolate_errors
    def on_trade_tick(self, tick: Any) -> None:
        self._hear(tick)

    @isolate_errors
    def on_alert(self, event: TimeEvent) -> None:
        self._hear(event)

    def _hear(self, message: Any) -> None:
        self.received.append(message)
        if len(self.received) % 2:
            raise ZeroDivisionError("clumsy")


def started(clock: LiveClock | TestClock) -> Clumsy:
    """The actor, running on this clock."""
    bus, cache = MessageBus(TraderId("T-1"), clock), Cache()
    actor = Clumsy()
    actor.register_base(portfolio=Portfolio(bus, cache, clock), msgbus=bus, cache=cache, clock=clock)
    actor.start()
    return actor


def test_live_run_continues_after_an_error(small_market: Trades) -> None:
    ticks = trade_ticks(small_market)[:3]
    actor = started(LiveClock())

    for tick in ticks:
        actor.handle_trade_tick(tick)

    assert actor.received == ticks
    assert actor.handler_errors == 2


def test_a_backtest_ends_with_the_error(small_market: Trades) -> None:
    actor = started(TestClock())

    with pytest.raises(ZeroDivisionError, match="clumsy"):
        actor.handle_trade_tick(trade_ticks(small_market)[0])

    assert actor.handler_errors == 0


def test_errors_of_timers_are_counted_too() -> None:
    async def run() -> Clumsy:
        clock = LiveClock()
        actor = started(clock)
        clock.set_time_alert_ns("now", clock.timestamp_ns() + 1_000_000, actor.on_alert)
        while not actor.received:
            await asyncio.sleep(0.001)
        return actor

    actor = asyncio.run(asyncio.wait_for(run(), 10))

    assert actor.handler_errors == 1
