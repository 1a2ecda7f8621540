"""What actors that ask a model do in a live run: put questions, publish what came of them, start from history."""

import asyncio
from collections.abc import Callable, Iterable

import pandas as pd
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TestClock, TimeEvent
from nautilus_trader.core.datetime import unix_nanos_to_dt
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.live_answers import LiveAnswers
from nautilus_torchserve.trading.inference.live_calls import InferenceDispatcher
from nautilus_torchserve.trading.inference.messages import (
    InferenceCall,
    ModelHealth,
    PredictionRequest,
    calls_topic,
    health_topic,
)
from nautilus_torchserve.trading.isolate_errors import isolate_errors

HISTORY_WITHIN_NS = 30 * 10**9
"""Longest wait for the history of a warm start (nanoseconds)."""


class LiveAsking(Actor):
    """The live half of a `trading.inference.actor.ModelActor`.

    Parameters
    ----------
    config : ModelActorConfig
    instrument_ids : iterable of InstrumentId
        What predictions will be about.
    data_type : callable
        What is published about an instrument.
    """

    can_be_live = True
    """Whether it asks by `put` where the clock is a live one."""

    def __init__(
        self,
        config: ModelActorConfig,
        instrument_ids: Iterable[InstrumentId],
        data_type: Callable[[InstrumentId], DataType],
    ) -> None:
        super().__init__(config)
        self.data_types = {instrument_id: data_type(instrument_id) for instrument_id in instrument_ids}
        """Instrument -> what is published about it."""
        self.handler_errors = 0
        """Exceptions in its handlers in a live run; each was logged."""
        self._answers = LiveAnswers(config.model)
        self._live: InferenceDispatcher | None = None
        self._fill: Callable[[], str] | None = None

    @property
    def is_live(self) -> bool:
        """Whether this is a live run; else time is simulated."""
        return not isinstance(self.clock, TestClock)

    def go_live(self, schema: FeatureSchema, fits: Callable[[ModelMetadata], None]) -> None:
        """Begin to connect to the model, beside the event loop; its health says when that is done.

        Raises
        ------
        RuntimeError
            This kind of actor cannot ask in a live run.
        """
        if not self.can_be_live:
            raise self.refused(RuntimeError(f"a backtest expected of a {type(self).__name__}, was a live clock"))
        self._live = InferenceDispatcher(
            self.config,
            schema,
            fits,
            loop=asyncio.get_running_loop(),
            now_ns=self.clock.timestamp_ns,
            held=self.is_held,
            deliver=self._deliver,
            changed=self._hear_health,
            owner=self,
        )

    @property
    def is_asking_live(self) -> bool:
        """Whether questions can be `put`."""
        return self._live is not None

    def on_stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.close()

    def put(self, question: PredictionRequest) -> None:
        """Ask in a live run; returns at once."""
        assert self._live is not None
        self._live.put(question)

    def _deliver(self, call: InferenceCall, split: str) -> None:
        """Publish what became of a live request; strategies hear of the newest event first.

        They hear nothing of questions that the end of the run left unanswered.
        """
        self.msgbus.publish(topic=calls_topic(self.config.model), msg=call)
        if self._live is None:
            return
        for prediction in self._answers.predictions(call, split, self.clock.timestamp_ns(), self._live.leaving):
            self.publish_data(self.data_types[prediction.instrument_id], prediction)

    def _hear_health(self, health: ModelHealth) -> None:
        said = f"{health.model} {health.version} ({health.digest[:12]}) at {health.url}: {health.state}"
        if health.why:
            self.log.warning(f"{said}: {health.why}")
        else:
            self.log.info(said)
        self.msgbus.publish(topic=health_topic(self.config.model), msg=health)

    def is_held(self, instrument_id: InstrumentId) -> bool:
        """Whether a position or an order is open."""
        return bool(
            self.cache.positions_open_count(instrument_id=instrument_id)
            + self.cache.orders_open_count(instrument_id=instrument_id)
            + self.cache.orders_inflight_count(instrument_id=instrument_id)
        )

    def warm_up(self, fill: Callable[[], str]) -> pd.Timestamp | None:
        """Begin a live run's warm start; to be called by ``on_start``, once the stream is subscribed to.

        Parameters
        ----------
        fill : callable
            Fills the features from what has come by then, and says in words what that was. Called once: when
            history is there (`end_warm_up`), or when it has not come within `HISTORY_WITHIN_NS`.

        Returns
        -------
        Timestamp or None
            Since when to ask for history; None: there is no warm start, and the stream flows.
        """
        if not self.is_live or not self.config.warm_up_ns:
            return None
        self._fill = fill
        now_ns = self.clock.timestamp_ns()
        self.clock.set_time_alert_ns("warm-up", now_ns + HISTORY_WITHIN_NS, self._on_no_history)
        return unix_nanos_to_dt(now_ns - self.config.warm_up_ns)

    @isolate_errors
    def end_warm_up(self, request_id: UUID4 | None = None) -> None:
        """The history that was asked for is there."""
        fill, self._fill = self._fill, None
        if fill is not None:
            self.clock.cancel_timer("warm-up")
            self.log.info(f"Features are filled with {fill()}")

    @isolate_errors
    def _on_no_history(self, event: TimeEvent) -> None:
        fill, self._fill = self._fill, None
        if fill is not None:
            self.log.warning(f"No history within {HISTORY_WITHIN_NS / 1e9:g} s; features are filled with {fill()}")

    def refused(self, error: Exception) -> Exception:
        """The error, once it has been logged."""
        self.log.error(f"Cannot ask {self.config.model} at {self.config.url}: {error}")
        return error
