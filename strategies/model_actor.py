"""What actors that ask a model share: connecting, publishing when it is due, giving up."""

import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TestClock, TimeEvent
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from features.schema import FeatureSchema
from serving.client import Answer, InferenceClient, connect
from strategies.checks import expect
from strategies.prediction import Prediction, prediction_type
from wire.errors import RequestError
from wire.news_windows import NewsWindow


class ModelActorConfig(ActorConfig, kw_only=True, frozen=True):
    """Configuration of a `ModelActor`.

    Parameters
    ----------
    url : str
        The inference port, ``http://`` or ``https://``, or ``mar:PATH`` of an archive.
    model : str
        The model's name.
    version : str, optional
        A fixed version; None asks the server's default one.
    token_env : str
        Environment variable that holds TorchServe's inference token; unset where none is needed.
    latency_ns : int
        Simulated time from an event's receipt to the moment its prediction takes effect (nanoseconds).
    timeout_s : float
        Longest wait for one answer (seconds of wall time).
    max_failures : int
        Events that may get no answer one after another; then the actor stops asking.
    """

    url: str
    model: str
    version: str | None = None
    token_env: str = "TORCHSERVE_TOKEN"
    latency_ns: int = 1_000_000
    timeout_s: float = 5.0
    max_failures: int = 10

    def __post_init__(self) -> None:
        schemes = ("http://", "https://", "mar:")
        expect(self.url.startswith(schemes), f"url beginning with http://, https:// or mar:, was {self.url!r}")
        expect(
            self.latency_ns >= 1,
            f"latency_ns of at least 1 (an answer cannot take effect at its own event), was {self.latency_ns}",
        )
        expect(self.timeout_s > 0, f"timeout_s above 0, was {self.timeout_s:g}")
        expect(self.max_failures >= 1, f"max_failures of at least 1, was {self.max_failures}")


OneInput = NDArray[np.float32] | NewsWindow
"""What a model is asked for one prediction."""


class AboutInstrument(Protocol):
    """What a `ModelActor` publishes."""

    instrument_id: InstrumentId
    ts_init: int


class ModelActor(Actor):
    """Asks a model and publishes what it says when that is due; a subclass knows what to ask and when.

    A request blocks the backtest until it is answered; in simulated time the answer takes effect
    ``latency_ns`` after its event's ``ts_init``. Answers that are due after the last datum never
    take effect, since simulated time ends there: they stay in `pending`.

    Parameters
    ----------
    config : ModelActorConfig
    instrument_ids : iterable of InstrumentId
        What predictions will be about.
    data_type : callable
        What is published about an instrument.
    """

    def __init__(
        self,
        config: ModelActorConfig,
        instrument_ids: Iterable[InstrumentId],
        data_type: Callable[[InstrumentId], DataType] = prediction_type,
    ) -> None:
        super().__init__(config)
        self.pending: deque[AboutInstrument] = deque()
        """Answers that have not taken effect yet, by due time."""
        self.gave_up = False
        """True after ``max_failures`` in a row: nothing is asked any more."""
        self.last_error = ""
        """What the last failed request said."""
        self._failed_in_a_row = 0
        self._last_due = 0
        self._client: InferenceClient | None = None
        self._asked: dict[int, OneInput] = {}
        self.published: tuple[Prediction, OneInput] | None = None
        """The last prediction that took effect, and what the model was asked for it."""
        self._data_types = {instrument_id: data_type(instrument_id) for instrument_id in instrument_ids}

    def connect_model(self, schema: FeatureSchema) -> InferenceClient:
        """Connect to the model; to be called by ``on_start``.

        Raises
        ------
        RuntimeError
            An instrument is not in the cache, or the clock is a live one.
        RequestError
            The model cannot be reached, or was trained on other features than ``schema``.
        """
        config = self.config
        for instrument_id in self._data_types:
            if self.cache.instrument(instrument_id) is None:
                raise self.refused(RuntimeError(f"{instrument_id} in the cache expected, was missing"))
        if not isinstance(self.clock, TestClock):
            raise self.refused(RuntimeError("a backtest expected (calls block), was a live clock"))
        try:
            self._client = connect(
                config.url,
                config.model,
                config.version,
                schema=schema,
                token=os.environ.get(config.token_env),
                timeout_s=config.timeout_s,
            )
        except RequestError as error:
            raise self.refused(error) from None
        return self._client

    def on_stop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def schedule(self, ts_init: int) -> int:
        """When a prediction on an event received then takes effect; sees to it that it will be published.

        To be called while that event is handled: an alert that is set by another alert's handler fires
        only with the datum after next in a backtest, with the clock turned back.
        """
        due = ts_init + self.config.latency_ns
        # One alert for all answers due at the same time: names must be unique, and alerts at one
        # time have no order of their own.
        if due != self._last_due:
            self._last_due = due
            self.clock.set_time_alert_ns(f"prediction-{due}", due, self._publish_due)
        return due

    def hold_until_due(
        self, answer: Answer, row: int, asked: OneInput, instrument_id: InstrumentId, ts_event: int, due: int
    ) -> None:
        """Keep one row of an answer until its time comes.

        Parameters
        ----------
        asked : OneInput
            What the model was asked for it.
        ts_event : int
            When the newest event that the row was made of happened, Unix ns.
        due : int
            What `schedule` said, not before that of any answer held already.
        """
        prediction = Prediction(
            ts_event=ts_event,
            ts_init=due,
            instrument_id=instrument_id,
            model=answer.model,
            version=answer.version,
            archive_digest=answer.digest,
            outputs={name: values.item(row) for name, values in answer.outputs.items()},
            feature_ts=ts_event,
            latency_ns=answer.latency_ns,
        )
        self.pending.append(prediction)
        self._asked[id(prediction)] = asked

    def _publish_due(self, event: TimeEvent) -> None:
        while self.pending and self.pending[0].ts_init <= event.ts_event:
            said = self.pending.popleft()
            if isinstance(said, Prediction):
                self.published = said, self._asked.pop(id(said))
            self.publish_data(self._data_types[said.instrument_id], said)

    def say_failed(self, error: RequestError, asked_for: str) -> None:
        """Log and remember why there is no prediction for ``asked_for``."""
        self.last_error = f"{type(error).__name__}: {error}"
        self.log.error(f"No prediction for {asked_for}: {self.last_error}")

    def count_event(self, answered: bool) -> None:
        """Count an event that got an answer, or none; too many of these in a row end the asking."""
        self._failed_in_a_row = 0 if answered else self._failed_in_a_row + 1
        if self._failed_in_a_row >= self.config.max_failures:
            self.gave_up = True
            self.log.error(f"{self._failed_in_a_row} requests failed in a row: asking no more")

    def refused(self, error: Exception) -> Exception:
        """The error, once it has been logged."""
        self.log.error(f"Cannot ask {self.config.model} at {self.config.url}: {error}")
        return error
