"""Keeps an audit log of a run: requests, predictions, decisions, orders, fills."""

import itertools
import time
import uuid
from dataclasses import dataclass
from typing import Any

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.events import OrderEvent
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.trading.config import ImportableStrategyConfig

from nautilus_torchserve.audit.opening import open_log
from nautilus_torchserve.audit.records import STARTED, STOPPED, HaltRecord, LogFailed, SessionRecord
from nautilus_torchserve.audit.writer import Writer
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.decision import DECISIONS_TOPIC, HALT_TOPIC, Decision, Halt
from nautilus_torchserve.trading.inference.messages import InferenceCall, calls_topic
from nautilus_torchserve.trading.isolate_errors import isolate_errors
from nautilus_torchserve.trading.live.audit.records import (
    as_json,
    decision_record,
    instruments_as_json,
    order_record,
    packages,
    playback_record,
    request_records,
)
from nautilus_torchserve.trading.live.replay.client import PLAYBACK_TOPIC, Playback

ORDERS = "events.order.*"


@dataclass(frozen=True)
class AuditSummary:
    """The state of a run's audit log at its end."""

    log: str
    """URL of the log, without passwords."""
    run_id: str
    missing: int
    """Records that it lacks."""
    missing_since_ns: int | None
    """Time of the earliest of them, Unix ns; None: there are none, or it is not known."""
    why: str
    """Reason why the first of them was not written."""
    last_hash: str | None
    """Hash of the folder's chain after the run's last segment, see `audit.chain`; None for a database."""


class AuditActorConfig(ActorConfig, kw_only=True, frozen=True):
    """Configuration of an `AuditActor`.

    Parameters
    ----------
    url : str
        Of the log, see `audit.opening.open_log`.
    models : list of str
        Whose calls to keep.
    instrument_ids : list of InstrumentId
        The traded instruments.
    source : str
        Where the data come from, in words.
    config_digest : str
        SHA-256 of the run's configuration.
    strategies : tuple of ImportableStrategyConfig
        The strategies' configs; kept so that a backtest can do the same.
    flush_s : float
        Between two writings to the log, in (0, 1] (seconds of wall time): what a crash costs.
    """

    url: str
    models: list[str]
    instrument_ids: list[InstrumentId]
    source: str = ""
    config_digest: str = ""
    strategies: tuple[ImportableStrategyConfig, ...] = ()
    flush_s: float = 0.5

    def __post_init__(self) -> None:
        expect(bool(self.url), "url of a log, got none")
        expect(bool(self.instrument_ids), "instrument_ids of at least 1 instrument, got none")
        expect(0 < self.flush_s <= 1, f"flush_s in (0, 1], got {self.flush_s:g}")


class AuditActor(Actor):
    """Writes what passes over the message bus to a log; trading never waits for it.

    It must start before the strategies, as actors do, or their decisions are missing. Strategies that close their
    positions when they are stopped are listened to until the actor is disposed of.

    Parameters
    ----------
    config : AuditActorConfig
    """

    def __init__(self, config: AuditActorConfig) -> None:
        super().__init__(config)
        self.run_id = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}"
        """Name of the run in the log; ordered by time."""
        self.handler_errors = 0
        """Exceptions in handlers of a live run, see `trading.isolate_errors`."""
        self._numbers = itertools.count()
        self._writer: Writer | None = None
        self._summary: AuditSummary | None = None
        self._topics = [
            (ORDERS, self._on_order),
            (DECISIONS_TOPIC, self._on_decision),
            (HALT_TOPIC, self._on_halt),
            (PLAYBACK_TOPIC, self._on_playback),
            *((calls_topic(model), self._on_call) for model in config.models),
        ]

    @property
    def dropped(self) -> int:
        """Records that were dropped during an outage of the log."""
        return 0 if self._writer is None else self._writer.dropped

    def on_start(self) -> None:
        config = self.config
        instruments = [self.cache.instrument(instrument_id) for instrument_id in config.instrument_ids]
        for instrument_id, instrument in zip(config.instrument_ids, instruments, strict=True):
            if instrument is None:
                raise self._logged(RuntimeError(f"expected {instrument_id} in the cache, got none"))
        try:
            log = open_log(config.url)
            log.keep([self._session(STARTED, instruments)])  # an unwritable log is an error before any trading
        except LogFailed as error:
            raise self._logged(error) from None
        self._writer = Writer(log, config.flush_s)
        for topic, handler in self._topics:
            self.msgbus.subscribe(topic=topic, handler=handler)
        self.log.info(f"Audit log of run {self.run_id}: {log.name}")

    def on_stop(self) -> None:
        """Record the stop; strategies, which stop after actors, are still listened to as they close their positions."""
        if self._writer is not None:
            self._writer.add(self._session(STOPPED, []))
            self._writer.wake()

    def on_dispose(self) -> None:
        self.end()

    def end(self) -> AuditSummary | None:
        """Write what is waiting and close the log; return what became of it, None where it was never opened."""
        if self._writer is not None:
            for topic, handler in self._topics:
                self.msgbus.unsubscribe(topic=topic, handler=handler)
            writer, self._writer = self._writer, None
            writer.close()
            missing = writer.dropped + self.handler_errors
            why = writer.why or "records that could not be made, see the log" if missing else ""
            self._summary = AuditSummary(
                writer.log.name, self.run_id, missing, writer.dropped_since_ns, why, writer.log.last_hash
            )
            ending = f"{missing} records missing, last hash {writer.log.last_hash}"
            self.log.info(f"Audit log of run {self.run_id}: {ending}")
        return self._summary

    @isolate_errors
    def _on_call(self, call: InferenceCall) -> None:
        for record in request_records(call, self._begin):
            self._add(record)

    @isolate_errors
    def _on_decision(self, decision: Decision) -> None:
        self._add(decision_record(decision, self.cache, self._begin))

    @isolate_errors
    def _on_order(self, event: OrderEvent) -> None:
        self._add(order_record(event, self._begin(self.clock.timestamp_ns())))

    @isolate_errors
    def _on_halt(self, halt: Halt) -> None:
        self._add(HaltRecord(**self._begin(halt.ts_ns), reason=halt.reason))

    @isolate_errors
    def _on_playback(self, playback: Playback) -> None:
        self._add(playback_record(playback, self._begin(self.clock.timestamp_ns())))

    def _add(self, record: Any) -> None:
        assert self._writer is not None
        self._writer.add(record)

    def _begin(self, ts_ns: int) -> dict[str, Any]:
        return {"run_id": self.run_id, "seq": next(self._numbers), "ts_ns": ts_ns}

    def _session(self, event: str, instruments: list[Instrument]) -> SessionRecord:
        config = self.config
        return SessionRecord(
            **self._begin(self.clock.timestamp_ns()),
            event=event,
            wall_ns=time.time_ns(),
            trader_id=self.trader_id.value,
            source=config.source,
            config_digest=config.config_digest,
            strategies=as_json(config.strategies),
            instruments=instruments_as_json(instruments),
            packages=packages(),
            dropped=self.dropped,
        )

    def _logged(self, error: Exception) -> Exception:
        self.log.error(f"Cannot keep an audit log: {error}")
        return error
