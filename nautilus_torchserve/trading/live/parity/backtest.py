"""A backtest of a recorded run: the same data, strategies and instruments, each prediction when it arrived then."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import nautilus_trader.model.instruments as instrument_types
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.common.component import MessageBus
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import CustomData, DataType
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.events import OrderEvent
from nautilus_trader.model.identifiers import ClientId, InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Money
from nautilus_trader.trading.config import ImportableStrategyConfig, StrategyFactory

from nautilus_torchserve.audit.records import ANSWERED, DecisionRecord, FillRecord, OrderRecord, RequestRecord
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.ledger import account_currency
from nautilus_torchserve.trading.decision import DECISIONS_TOPIC, HALT_TOPIC, Decision, Halt
from nautilus_torchserve.trading.instruments.conform import conform, tick_steps
from nautilus_torchserve.trading.instruments.instruments import quote_ticks, trade_ticks
from nautilus_torchserve.trading.instruments.names import engine_id
from nautilus_torchserve.trading.live.audit.records import decision_record, order_record
from nautilus_torchserve.trading.live.paper import OneStepWorse
from nautilus_torchserve.trading.live.parity.recorded_run import LoggedRun, NoParity, RecordedRun
from nautilus_torchserve.trading.live.replay.recording import shifted
from nautilus_torchserve.trading.prediction import Prediction, prediction_topic

BALANCE = 10_000_000
"""Account at the start, in settlement currency: the recorded run's own limits are in its log, not here."""
_OK = "OK"


class Delivery(Data):
    """Messages that were published at one time, in their order."""

    __slots__ = ("messages", "ts_event", "ts_init")

    def __init__(self, ts_ns: int) -> None:
        self.ts_event = self.ts_init = ts_ns
        self.messages: list[tuple[str, object]] = []
        """Topic and message."""


DELIVERY_TYPE = DataType(Delivery)


def backtest_recorded(recorded: LoggedRun, trades: Trades, outputs: Sequence[dict[str, float]]) -> RecordedRun:
    """Backtest the recorded run in its own time, from its begin to its end.

    Only predictions that were answered in time are fed in, as a backtest has no others: what the recorded run did
    about late and missing ones is a difference. Halts are, too: they come from outside, as data do. The venue is the
    sandbox of live runs.

    Parameters
    ----------
    trades : Trades
        As recorded, not shifted.
    outputs : sequence of dict
        Of each request, see `trading.live.parity.parity.PredictionParity`.

    Raises
    ------
    NoParity
        The log lacks the strategies' configs, or times make no sense.
    """
    instruments, strategies = _instruments(recorded), _strategies(recorded)
    traded = traded_instrument(recorded, trades)
    live = conform(shifted_to(trades, recorded), traded)
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(log_level="ERROR"),
            risk_engine=RiskEngineConfig(max_order_submit_rate="1000000/00:00:01"),
        )
    )
    try:
        for venue in {instrument.id.venue for instrument in instruments}:
            engine.add_venue(
                venue,
                OmsType.NETTING,
                AccountType.MARGIN,
                starting_balances=_balances(instruments),
                fill_model=OneStepWorse(),
                trade_execution=False,
                bar_execution=False,
            )
        for instrument in instruments:
            engine.add_instrument(instrument)
        for strategy in strategies:
            engine.add_strategy(StrategyFactory.create(strategy))
        engine.add_data(trade_ticks(live))
        engine.add_data(quote_ticks(live, tick_steps(traded)))  # in this order at one time
        deliveries = [CustomData(DELIVERY_TYPE, delivery) for delivery in _deliveries(recorded, outputs)]
        engine.add_data(deliveries, client_id=ClientId("RECORDED"))
        recorder = BusRecorder(engine)
        engine.run(end=max(recorded.until_ns, int(live.ts_init[-1])))
        return recorder.run()
    finally:
        engine.dispose()


def shifted_to(trades: Trades, recorded: LoggedRun) -> Trades:
    """Return the trades in the recorded run's time, up to its end.

    Raises
    ------
    NoParity
        There are none.
    """
    stop = int((trades.ts_init + recorded.shift_ns <= recorded.until_ns).sum())
    if not stop:
        raise NoParity(f"{trades.source}: expected data from before the run's end, got none")
    return shifted(trades.between(0, stop), recorded.shift_ns)


def _instruments(recorded: LoggedRun) -> list[Instrument]:
    documents = json.loads(recorded.session.instruments)
    return [getattr(instrument_types, document["type"]).from_dict(document) for document in documents]


def traded_instrument(recorded: LoggedRun, trades: Trades) -> Instrument:
    """Return the recorded run's instrument that the trades are of.

    Raises
    ------
    NoParity
        It has none of that name.
    """
    instruments = _instruments(recorded)
    instrument_id = engine_id(trades.instrument.symbol, trades.instrument.venue)
    traded = next((instrument for instrument in instruments if instrument.id == instrument_id), None)
    if traded is None:
        ids = ", ".join(instrument.id.value for instrument in instruments)
        raise NoParity(f"{trades.source}: expected trades of one of {ids}, which the log is about, got {instrument_id}")
    return traded


def _balances(instruments: Sequence[Instrument]) -> list[Money]:
    return [Money(BALANCE, currency) for currency in {account_currency(instrument) for instrument in instruments}]


def _strategies(recorded: LoggedRun) -> list[ImportableStrategyConfig]:
    documents = json.loads(recorded.session.strategies)
    if not documents:
        raise NoParity(f"run {recorded.session.run_id}: expected the strategies' configs in the log, got none")
    return [ImportableStrategyConfig(**document) for document in documents]


def _deliveries(recorded: LoggedRun, outputs: Sequence[dict[str, float]]) -> list[Delivery]:
    """Return predictions when they took effect, and halts, those of one time together and in the recorded order."""
    arrivals = _arrivals(recorded.run.decisions)
    messages: list[tuple[int, int, str, object]] = []
    for request, values in zip(recorded.run.requests, outputs, strict=True):
        if request.fate != ANSWERED or not values:
            continue
        decision = arrivals.get((request.instrument_id, request.model, request.question))
        prediction = _prediction(request, values, decision)
        messages.append((prediction.ts_init, request.seq, prediction_topic(prediction.instrument_id), prediction))
    for halt in recorded.run.halts:
        messages.append((halt.ts_ns, halt.seq, HALT_TOPIC, Halt(reason=halt.reason, ts_ns=halt.ts_ns)))
    deliveries: dict[int, Delivery] = {}
    for ts_ns, _, topic, message in sorted(messages, key=lambda entry: entry[:2]):
        deliveries.setdefault(ts_ns, Delivery(ts_ns)).messages.append((topic, message))
    return list(deliveries.values())


def _arrivals(decisions: Sequence[DecisionRecord]) -> dict[tuple[str, str, int], DecisionRecord]:
    """Return the first decision on each good prediction."""
    arrivals: dict[tuple[str, str, int], DecisionRecord] = {}
    for decision in decisions:
        if decision.status == _OK:
            arrivals.setdefault((decision.instrument_id, decision.model, decision.question), decision)
    return arrivals


def _prediction(request: RequestRecord, outputs: dict[str, float], decision: DecisionRecord | None) -> Prediction:
    return Prediction(
        ts_event=request.ts_event,
        ts_init=request.ended_ns if decision is None else decision.ts_init,
        instrument_id=InstrumentId.from_str(request.instrument_id),
        model=request.model,
        version=request.version,
        archive_digest=request.digest,
        outputs=outputs,
        feature_ts=request.ts_event,
        latency_ns=request.latency_ns,
        split="" if decision is None else decision.split,
        pending_version_change=decision is not None and decision.leaving,
        number=request.question,
    )


class BusRecorder:
    """Publishes deliveries, and records what the backtest does as an audit log would."""

    def __init__(self, engine: BacktestEngine) -> None:
        self._bus: MessageBus = engine.kernel.msgbus
        self._cache, self._clock = engine.cache, engine.kernel.clock
        self._numbers = itertools.count()
        self._decisions: list[DecisionRecord] = []
        self._orders: list[OrderRecord] = []
        self._fills: list[FillRecord] = []
        self._bus.subscribe(topic=f"data.{DELIVERY_TYPE.topic}", handler=self._deliver)
        self._bus.subscribe(topic=DECISIONS_TOPIC, handler=self._on_decision)
        self._bus.subscribe(topic="events.order.*", handler=self._on_order)

    def run(self) -> RecordedRun:
        return RecordedRun((), tuple(self._decisions), tuple(self._orders), tuple(self._fills), ())

    def _deliver(self, delivery: Delivery) -> None:
        for topic, message in delivery.messages:
            self._bus.publish(topic=topic, msg=message)

    def _on_decision(self, decision: Decision) -> None:
        self._decisions.append(decision_record(decision, self._cache, self._begin))

    def _on_order(self, event: OrderEvent) -> None:
        record = order_record(event, self._begin(self._clock.timestamp_ns()))
        if isinstance(record, FillRecord):
            self._fills.append(record)
        else:
            self._orders.append(record)

    def _begin(self, ts_ns: int) -> dict[str, Any]:
        return {"run_id": "backtest", "seq": next(self._numbers), "ts_ns": ts_ns}
