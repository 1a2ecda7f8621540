"""A TradingNode with trades and a model: ``python -m benchmarks.live_node < spec.json``.

Reads a `Spec` as JSON, prints a `Waits` as JSON. In a process of its own: one node a process, and nothing else on its
interpreter.
"""

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from nautilus_trader.common.actor import Actor
from nautilus_trader.config import LiveExecEngineConfig, LoggingConfig, TradingNodeConfig
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import TradeId, TraderId
from nautilus_trader.model.instruments import CryptoPerpetual

from benchmarks.tick_feed import STAMP
from nautilus_torchserve.features.tick import TickFeatures, tick_schema
from nautilus_torchserve.market.trades.trades import Instrument
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.trading.inference.messages import InferenceCall, RequestOutcome, calls_topic
from nautilus_torchserve.trading.instruments.instruments import perpetual
from nautilus_torchserve.trading.tick.actor import SIDE_SIGNS, InferenceActor, InferenceActorConfig

LIVE, BLOCKING, IDLE = "ours", "blocking", "no requests"
WAYS = (LIVE, BLOCKING, IDLE)
_SETTLES_S = 60.0


@dataclass(frozen=True)
class Spec:
    """The load of a node."""

    way: str
    """One of `WAYS`."""
    url: str
    model: str
    rate: float
    """Trades a second, on average."""
    trades: int
    """Number of trades."""
    seed: int
    """Seed of their times."""


@dataclass(frozen=True)
class Waits:
    """Measurements of one run, milliseconds."""

    p50_ms: float
    """From the sending of a trade, in another process, until ``on_trade_tick`` ran: median."""
    p99_ms: float
    max_ms: float
    model_p50_ms: float
    """Median time of a request; 0 without any."""
    requests: int
    requested: int
    """Trades whose prediction was requested."""
    answered: int
    """Predictions of these that arrived in time."""


class WaitRecorder:
    """Records how long trades wait for their handler."""

    def __init__(self) -> None:
        self.waits_ns: list[int] = []
        self.model_ns: list[int] = []
        self.requested = self.answered = 0

    def record_wait(self, tick: TradeTick) -> None:
        """Record how long the trade waited; called first."""
        self.waits_ns.append(time.time_ns() - tick.ts_init)


class Live(WaitRecorder, InferenceActor):
    """The actor of a live run."""

    def __init__(self, config: InferenceActorConfig) -> None:
        InferenceActor.__init__(self, config)
        WaitRecorder.__init__(self)

    def on_start(self) -> None:
        super().on_start()
        self.msgbus.subscribe(topic=calls_topic(self.config.model), handler=self._count)

    def on_trade_tick(self, tick: TradeTick) -> None:
        self.record_wait(tick)
        super().on_trade_tick(tick)

    @property
    def is_ready(self) -> bool:
        return self._dispatcher is not None and self._dispatcher.is_available

    def _count(self, call: InferenceCall) -> None:
        self.requested += len(call.requests)
        self.answered += call.outcomes.count(RequestOutcome.ANSWERED)
        if call.sent_ns:
            self.model_ns.append(call.latency_ns)


class Plain(WaitRecorder, Actor):
    """Keeps the features and, where it has a client, requests in the handler and waits."""

    def __init__(self, config: InferenceActorConfig, client: InferenceClient | None) -> None:
        Actor.__init__(self)
        WaitRecorder.__init__(self)
        self._instrument_id, self._client = config.instrument_id, client
        self._features = TickFeatures()
        self.is_ready = True

    def on_start(self) -> None:
        self.subscribe_trade_ticks(self._instrument_id)

    def on_trade_tick(self, tick: TradeTick) -> None:
        self.record_wait(tick)
        side = SIDE_SIGNS[tick.aggressor_side]
        row = self._features.update(tick.price.raw, tick.size.raw, side, tick.ts_event)
        if row is not None and self._client is not None:
            response = self._client.predict(np.array((row,), dtype=np.float32))
            self.model_ns.append(response.latency_ns)
            self.requested += 1
            self.answered += 1


def measure(spec: Spec) -> Waits:
    """Run a node until it has handled all trades."""
    instrument = perpetual(Instrument("BTCUSDT", "BINANCE", 2, 3), fee_bps=0.0)
    config = InferenceActorConfig(instrument_id=instrument.id, url=spec.url, model=spec.model)
    client = None
    if spec.way == BLOCKING:
        client = connect(spec.url, spec.model, schema=tick_schema(), token=os.environ.get(config.token_env))
    actor = Live(config) if spec.way == LIVE else Plain(config, client)
    node = TradingNode(
        TradingNodeConfig(
            trader_id=TraderId("BENCH-001"),
            logging=LoggingConfig(log_level="OFF"),
            exec_engine=LiveExecEngineConfig(reconciliation=False),
            timeout_post_stop=0.1,
        )
    )
    node.trader.add_actor(actor)
    node.build()
    node.cache.add_instrument(instrument)
    node.kernel.loop.run_until_complete(_feed(node, actor, instrument, spec))
    node.dispose()
    waits_ms, model_ms = np.array(actor.waits_ns) / 1e6, np.array(actor.model_ns or [0]) / 1e6
    p50, p99, most = np.percentile(waits_ms, (50, 99, 100)).tolist()
    requests = len(actor.model_ns)
    return Waits(p50, p99, most, float(np.median(model_ms)), requests, actor.requested, actor.answered)


async def _feed(node: TradingNode, actor: Live | Plain, instrument: CryptoPerpetual, spec: Spec) -> None:
    """Run the node, and another process that sends it trades, until all are handled."""
    loop = asyncio.get_running_loop()
    running = loop.create_task(node.run_async())
    await _until(lambda: actor.is_running and actor.is_ready, running)
    server = await loop.create_server(lambda: _Trades(node, instrument), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.tick_feed", *map(str, (port, spec.rate, spec.trades, spec.seed))]
    with subprocess.Popen(command) as feeder:
        await _until(lambda: len(actor.waits_ns) == spec.trades or feeder.poll() not in (None, 0), running)
        await _until(lambda: feeder.poll() is not None, running)
    server.close()
    await node.stop_async()
    await asyncio.wait([running], timeout=_SETTLES_S)


async def _until(condition: Callable[[], bool], running: asyncio.Task[None]) -> None:
    end = time.monotonic() + _SETTLES_S
    while not condition():
        if running.done() or time.monotonic() > end:
            raise RuntimeError(f"expected a running node, got {running}")
        await asyncio.sleep(0.02)


class _Trades(asyncio.Protocol):
    """A data client: hands a trade of each message to the data engine."""

    def __init__(self, node: TradingNode, instrument: CryptoPerpetual) -> None:
        self._engine, self._instrument = node.kernel.data_engine, instrument
        self._received = bytearray()
        self._count = 0

    def data_received(self, data: bytes) -> None:
        self._received += data
        whole = len(self._received) // STAMP.size * STAMP.size
        for (sent_ns,) in STAMP.iter_unpack(self._received[:whole]):
            self._count += 1
            price = self._instrument.make_price(50_000 + self._count % 97 * 0.01)
            size = self._instrument.make_qty(0.001 * (1 + self._count % 13))
            side = AggressorSide.BUYER if self._count % 3 else AggressorSide.SELLER
            trade_id = TradeId(str(self._count))
            self._engine.process(TradeTick(self._instrument.id, price, size, side, trade_id, sent_ns, sent_ns))
        del self._received[:whole]


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(measure(Spec(**json.load(sys.stdin))))))
