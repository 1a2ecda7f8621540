"""Scores headlines as they arrive, and publishes a decayed sentiment of each instrument."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.custom import customdataclass
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.features.text import TEXT_SCHEMA
from nautilus_torchserve.serving.client.client import PredictionResponse
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.inference.actor import ModelActor
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.news.headline import HEADLINE_TOPIC, NewsHeadline
from nautilus_torchserve.traffic.assignment import Route
from nautilus_torchserve.wire.errors import BadText, BodyTooLarge, RequestError, SchemaMismatch

PER_TEXT_ERRORS = (BadText, BodyTooLarge)
"""Errors that one text of a request can bring upon the others."""


@customdataclass
class InstrumentSentiment(Data):
    """An instrument's sentiment after one more headline.

    ``ts_event`` is when the headline was published, ``ts_init`` when its score took effect here; both Unix
    nanoseconds.

    A `ParquetDataCatalog` writes and reads it like any custom data.
    """

    instrument_id: InstrumentId
    """The instrument that it is about."""
    score: float
    """Mean of all headlines' scores so far, in [-1, 1], the older ones counting less:
    `trading.news.sentiment_actor`. It does not fade by itself: ``ts_event`` gives its age."""
    last_score: float
    """Score of the last headline alone."""
    headlines: int
    """Number of headlines in the score."""
    model: str
    """The model's name."""
    version: str
    """The version that answered."""
    archive_digest: str
    """Content digest of the archive that answered."""


def sentiment_type(instrument_id: InstrumentId) -> DataType:
    """Return the data type of an instrument's sentiment; the metadata must match on both sides."""
    return DataType(InstrumentSentiment, metadata={"instrument_id": instrument_id.value})


class SentimentActorConfig(ModelActorConfig, kw_only=True, frozen=True):
    """Configuration of `SentimentActor`: what `ModelActorConfig` has, and this.

    Parameters
    ----------
    instrument_ids : list of InstrumentId
        The instruments whose headlines to score.
    half_life_ns : int
        Age at which a headline counts half (nanoseconds); it counts from its receipt.
    max_batch : int
        Largest number of headlines in one request.
    """

    instrument_ids: list[InstrumentId]
    model: str = "sentiment"
    latency_ns: int = 50_000_000
    half_life_ns: int = 3_600_000_000_000
    max_batch: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [str(instrument_id) for instrument_id in self.instrument_ids]
        expect(bool(names), "instrument_ids of at least 1 instrument, got none")
        expect(len(set(names)) == len(names), f"instrument_ids of different instruments, got {', '.join(names)}")
        expect(self.half_life_ns >= 1, f"half_life_ns of at least 1, got {self.half_life_ns}")
        expect(self.max_batch >= 1, f"max_batch of at least 1, got {self.max_batch}")

    def feature_schema(self) -> FeatureSchema:
        return TEXT_SCHEMA

    def subjects(self) -> list[InstrumentId]:
        return self.instrument_ids


class PendingHeadline(NamedTuple):
    """A headline to score."""

    headline: NewsHeadline
    instrument_ids: list[InstrumentId]
    """The instruments that its score counts for."""


class SentimentActor(ModelActor):
    """Scores headlines, and publishes the sentiment of each instrument that one is about.

    Headlines received at the same time make one request (or as few as ``max_batch`` allows), whatever they are about;
    with ``traffic``, one for each version that their instruments are with. Where one of them makes it fail, halves are
    sent, and so on, until it stands alone: it is left out, and its neighbours have their scores. The sentiment is
    `trading.news.sentiment_actor` of the scores, by the times of receipt; it takes effect with the response.

    Parameters
    ----------
    config : SentimentActorConfig
    """

    can_be_live = False

    def __init__(self, config: SentimentActorConfig) -> None:
        super().__init__(config, config.instrument_ids, sentiment_type)
        self.unreadable: dict[InstrumentId, list[int]] = {name: [] for name in config.instrument_ids}
        """Instrument -> ``ts_init`` of the headlines that the model could not read."""
        self.failed: dict[InstrumentId, list[int]] = {name: [] for name in config.instrument_ids}
        """Instrument -> ``ts_init`` of the headlines whose requests failed."""
        self._sentiment = {name: DecayedMean(config.half_life_ns) for name in config.instrument_ids}
        self._received_ns = -1
        """When the headlines that are being collected were received."""
        self._due_ns = -1
        """When their scores take effect."""
        self._waiting: list[NewsHeadline] = []

    def on_start(self) -> None:
        self.connect_model(self.config.feature_schema(), check_scores)
        self.msgbus.subscribe(topic=HEADLINE_TOPIC, handler=self.handle_data)

    def on_stop(self) -> None:
        self.msgbus.unsubscribe(topic=HEADLINE_TOPIC, handler=self.handle_data)
        super().on_stop()

    def on_data(self, data: NewsHeadline) -> None:
        if self.gave_up or not self.is_connected or not self._instruments_of(data):
            return
        if data.ts_init != self._received_ns:
            self._send_collected()
            self._received_ns = data.ts_init
            self._due_ns = self.schedule(data.ts_init)
        self._waiting.append(data)

    def _instruments_of(self, headline: NewsHeadline) -> list[InstrumentId]:
        """Return the configured instruments that a headline is about."""
        return [name for name in dict.fromkeys(headline.instrument_ids) if name in self._sentiment]

    def send_waiting(self, now_ns: int) -> None:
        if self._due_ns <= now_ns:
            self._send_collected()  # nothing received at the same time can follow any more

    def _send_collected(self) -> None:
        """Send all headlines that are waiting, those of one route together."""
        waiting, self._waiting = self._waiting, []
        routes: dict[Route, list[PendingHeadline]] = {}
        for headline in waiting:
            for route, instrument_ids in self._routes_of(headline).items():
                routes.setdefault(route, []).append(PendingHeadline(headline, instrument_ids))
        for route, pending in routes.items():
            for start in range(0, len(pending), self.config.max_batch):
                if not self.gave_up:
                    self._score_together(route, pending[start : start + self.config.max_batch])

    def _routes_of(self, headline: NewsHeadline) -> dict[Route, list[InstrumentId]]:
        """Return the routes of a headline, and the instruments of each."""
        routes: dict[Route, list[InstrumentId]] = {}
        for instrument_id in self._instruments_of(headline):
            routes.setdefault(self.route(instrument_id, headline.ts_event), []).append(instrument_id)
        return routes

    def _score_together(self, route: Route, pending: list[PendingHeadline]) -> None:
        texts = [headline.text for headline, _ in pending]
        subjects = [instrument_ids for _, instrument_ids in pending]
        try:
            response = self.send(route, texts, subjects, pending[0].headline.ts_event)
        except PER_TEXT_ERRORS as error:
            if len(pending) == 1:
                self._record_unreadable(pending[0], error)
                return
            middle = len(pending) // 2
            for half in (pending[:middle], pending[middle:]):
                self._score_together(route, half)
        except RequestError as error:
            for headline, instrument_ids in pending:
                self.record_failure(error, f"the headline received at {headline.ts_init}")
                for instrument_id in instrument_ids:
                    self.failed[instrument_id].append(headline.ts_init)
            self.count_event(is_answered=False, on_trial=route.on_trial)
        else:
            self.count_event(is_answered=True)
            for row, scored in enumerate(pending):
                self._update_sentiment(response, row, scored)

    def _record_unreadable(self, pending: PendingHeadline, error: RequestError) -> None:
        """Skip an unreadable headline; the model did respond, so this does not count towards ``max_failures``."""
        self.log.warning(f"The headline received at {pending.headline.ts_init} was not read: {error}")
        self.count_event(is_answered=True)
        for instrument_id in pending.instrument_ids:
            self.unreadable[instrument_id].append(pending.headline.ts_init)

    def _update_sentiment(self, response: PredictionResponse, row: int, scored: PendingHeadline) -> None:
        score = sentiment_scores(response.outputs).item(row)
        for instrument_id in scored.instrument_ids:
            sentiment = self._sentiment[instrument_id]
            self.pending.add(
                InstrumentSentiment(
                    ts_event=scored.headline.ts_event,
                    ts_init=self._due_ns,
                    instrument_id=instrument_id,
                    score=sentiment.update(score, scored.headline.ts_init),
                    last_score=score,
                    headlines=sentiment.count,
                    model=response.model,
                    version=response.version,
                    archive_digest=response.digest,
                )
            )


class DecayedMean:
    """Exponentially decayed mean, O(1) a value.

    At time t, the newest value's, it is::

        mean(t) = sum_i value_i * 2 ** (-(t - t_i) / half_life) / sum_i 2 ** (-(t - t_i) / half_life)

    which is what `model_defs.news_pool.sentiment_of` computes from all values anew. Numerator and denominator decay by
    the same factor, so that the mean moves with new values only, by less the more is already known: between two
    values it stays what it is.

    Parameters
    ----------
    half_life_ns : int
        Age at which a value counts half (nanoseconds).
    """

    def __init__(self, half_life_ns: int) -> None:
        if half_life_ns < 1:
            raise ValueError(f"expected half_life_ns of at least 1, got {half_life_ns}")
        self.half_life_ns = half_life_ns
        self.count = 0
        """Number of values."""
        self._sum = 0.0
        self._weight = 0.0
        self._ts_ns = 0
        """The newest value's time, of which `_sum` and `_weight` are."""

    def update(self, value: float, ts_ns: int) -> float:
        """Add a value; return the mean at the newest value's time, whatever order values come in.

        Parameters
        ----------
        value : float
        ts_ns : int
            The value's time, Unix nanoseconds.
        """
        since = ts_ns - self._ts_ns if self.count else 0
        decay = 2.0 ** (-abs(since) / self.half_life_ns)
        if since >= 0:
            self._sum = self._sum * decay + value
            self._weight = self._weight * decay + 1.0
        else:
            self._sum += value * decay
            self._weight += decay
        self._ts_ns = max(self._ts_ns, ts_ns)
        self.count += 1
        return self._sum / self._weight


def check_scores(metadata: ModelMetadata) -> None:
    """Refuse a model whose outputs are no sentiment.

    Raises
    ------
    SchemaMismatch
    """
    outputs = set(metadata.outputs)
    if "score" not in outputs and not {"positive", "negative"} <= outputs:
        got = ", ".join(metadata.outputs)
        raise SchemaMismatch(f"expected a model with an output score, or with positive and negative, got {got}")


def sentiment_scores(outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the scores [n] in [-1, 1]: the model's, or the probability of positive less that of negative."""
    return outputs["score"] if "score" in outputs else outputs["positive"] - outputs["negative"]
