"""Asks a model about every trade and publishes what it says."""

import os
from collections import deque

import numpy as np
from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TestClock, TimeEvent
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import FIXED_PRECISION

from features.tick import WINDOW, TickFeatures, tick_schema
from serving.client import Answer, InferenceClient, connect
from strategies.checks import expect
from strategies.prediction import Prediction, prediction_type
from wire.errors import RequestError

SIDE_SIGNS = (0, 1, -1)
"""Sign of `AggressorSide` NO_AGGRESSOR, BUYER, SELLER by its value."""


class InferenceActorConfig(ActorConfig, frozen=True):
    """Configuration of `InferenceActor`.

    Parameters
    ----------
    instrument_id : InstrumentId
        Whose trades to ask about.
    url : str
        The inference port, ``http://`` or ``https://``, or ``mar:PATH`` of an archive.
    model : str
        The model's name.
    version : str, optional
        A fixed version; None asks the server's default one.
    token_env : str
        Environment variable that holds TorchServe's inference token; unset where none is needed.
    window : int
        Trades that a row of features looks back on; must be the model's.
    latency_ns : int
        Simulated time from a trade's receipt to the moment its prediction takes effect (nanoseconds).
    timeout_s : float
        Longest wait for one answer (seconds of wall time).
    max_failures : int
        Requests that may fail one after another; then the actor stops asking.
    """

    instrument_id: InstrumentId
    url: str
    model: str = "tick"
    version: str | None = None
    token_env: str = "TORCHSERVE_TOKEN"
    window: int = WINDOW
    latency_ns: int = 1_000_000
    timeout_s: float = 5.0
    max_failures: int = 10

    def __post_init__(self) -> None:
        schemes = ("http://", "https://", "mar:")
        expect(self.url.startswith(schemes), f"url beginning with http://, https:// or mar:, was {self.url!r}")
        expect(self.window >= 1, f"window of at least 1 trade, was {self.window}")
        expect(
            self.latency_ns >= 1,
            f"latency_ns of at least 1 (an answer cannot take effect at its own event), was {self.latency_ns}",
        )
        expect(self.timeout_s > 0, f"timeout_s above 0, was {self.timeout_s:g}")
        expect(self.max_failures >= 1, f"max_failures of at least 1, was {self.max_failures}")


class InferenceActor(Actor):
    """Keeps the tick features, asks for a prediction with each trade and publishes it when it is due.

    A request blocks the backtest until it is answered; in simulated time the answer takes effect
    ``latency_ns`` after the trade's ``ts_init``. Answers that are due after the last datum never
    take effect, since simulated time ends there: they stay in `pending`.

    A request that fails is logged and counted, and there is no prediction for that trade.

    Parameters
    ----------
    config : InferenceActorConfig
    """

    def __init__(self, config: InferenceActorConfig) -> None:
        super().__init__(config)
        self.features = TickFeatures(config.window)
        self.pending: deque[Prediction] = deque()
        """Answers that have not taken effect yet, by due time."""
        self.failed: list[int] = []
        """Which trades' requests failed, 0 being the first trade seen."""
        self.gave_up = False
        """True after ``max_failures`` in a row: nothing is asked any more."""
        self.last_error = ""
        """What the last failed request said."""
        self._failed_in_a_row = 0
        self._client: InferenceClient | None = None
        self._data_type = prediction_type(config.instrument_id)
        self._price_step = 1
        self._size_step = 1

    def on_start(self) -> None:
        config = self.config
        instrument = self.cache.instrument(config.instrument_id)
        if instrument is None:
            raise self._refused(RuntimeError(f"{config.instrument_id} in the cache expected, was missing"))
        if not isinstance(self.clock, TestClock):
            raise self._refused(RuntimeError("a backtest expected (calls block), was a live clock"))
        try:
            self._client = connect(
                config.url,
                config.model,
                config.version,
                schema=tick_schema(config.window),
                token=os.environ.get(config.token_env),
                timeout_s=config.timeout_s,
            )
        except RequestError as error:
            raise self._refused(error) from None
        self._price_step = 10 ** (FIXED_PRECISION - instrument.price_precision)
        self._size_step = 10 ** (FIXED_PRECISION - instrument.size_precision)
        self.subscribe_trade_ticks(config.instrument_id)

    def on_trade_tick(self, tick: TradeTick) -> None:
        row = self.features.update(
            tick.price.raw // self._price_step,
            tick.size.raw // self._size_step,
            SIDE_SIGNS[tick.aggressor_side],
            tick.ts_event,
        )
        if row is None or self.gave_up or self._client is None:
            return
        try:
            answer = self._client.predict(np.array((row,), dtype=np.float32))
        except RequestError as error:
            self._count_failure(error)
        else:
            self._failed_in_a_row = 0
            self._publish_later(tick, answer)

    def on_stop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _publish_later(self, tick: TradeTick, answer: Answer) -> None:
        due = tick.ts_init + self.config.latency_ns
        # One alert for all answers due at the same time: names must be unique, and alerts at one
        # time have no order of their own.
        if not self.pending or self.pending[-1].ts_init != due:
            self.clock.set_time_alert_ns(f"prediction-{due}", due, self._publish_due)
        self.pending.append(
            Prediction(
                ts_event=tick.ts_event,
                ts_init=due,
                instrument_id=self.config.instrument_id,
                model=answer.model,
                version=answer.version,
                archive_digest=answer.digest,
                outputs={name: values.item() for name, values in answer.outputs.items()},
                feature_ts=tick.ts_event,
                latency_ns=answer.latency_ns,
            )
        )

    def _publish_due(self, event: TimeEvent) -> None:
        while self.pending and self.pending[0].ts_init <= event.ts_event:
            self.publish_data(self._data_type, self.pending.popleft())

    def _count_failure(self, error: RequestError) -> None:
        self.failed.append(self.features.seen - 1)
        self._failed_in_a_row += 1
        self.last_error = f"{type(error).__name__}: {error}"
        self.log.error(f"No prediction for trade {self.features.seen}: {self.last_error}")
        if self._failed_in_a_row >= self.config.max_failures:
            self.gave_up = True
            self.log.error(f"{self._failed_in_a_row} requests failed in a row: asking no more")

    def _refused(self, error: Exception) -> Exception:
        self.log.error(f"Cannot ask {self.config.model} at {self.config.url}: {error}")
        return error
