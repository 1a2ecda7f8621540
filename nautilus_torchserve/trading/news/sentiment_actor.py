"""Asks a sentiment model about headlines as they arrive, and keeps a decayed sentiment of each instrument."""

from typing import NamedTuple

from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.features.text import TEXT_SCHEMA
from nautilus_torchserve.serving.client.client import PredictionResponse
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.inference.actor import ModelActor
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.news.decayed_mean import DecayedMean
from nautilus_torchserve.trading.news.headline import HEADLINE_TOPIC, NewsHeadline
from nautilus_torchserve.trading.news.sentiment import InstrumentSentiment, sentiment_type
from nautilus_torchserve.traffic.assignment import Route
from nautilus_torchserve.wire.errors import BadText, BodyTooLarge, RequestError

PER_TEXT_ERRORS = (BadText, BodyTooLarge)
"""Errors that one text of a request can bring upon the others."""


class SentimentActorConfig(ModelActorConfig, kw_only=True, frozen=True):
    """Configuration of `SentimentActor`: what `ModelActorConfig` has, and this.

    Parameters
    ----------
    instrument_ids : list of InstrumentId
        Whose headlines to ask about.
    half_life_ns : int
        Age at which a headline counts half (nanoseconds); it counts from its receipt.
    max_batch : int
        Most headlines in one request.
    """

    instrument_ids: list[InstrumentId]
    model: str = "sentiment"
    latency_ns: int = 50_000_000
    half_life_ns: int = 3_600_000_000_000
    max_batch: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [str(instrument_id) for instrument_id in self.instrument_ids]
        expect(bool(names), "instrument_ids of at least 1 instrument, was none")
        expect(len(set(names)) == len(names), f"instrument_ids of different instruments, was {', '.join(names)}")
        expect(self.half_life_ns >= 1, f"half_life_ns of at least 1, was {self.half_life_ns}")
        expect(self.max_batch >= 1, f"max_batch of at least 1, was {self.max_batch}")


class Told(NamedTuple):
    """A headline to ask about."""

    headline: NewsHeadline
    instrument_ids: list[InstrumentId]
    """Whom its score counts for."""


class SentimentActor(ModelActor):
    """Scores headlines, and publishes the sentiment of each instrument that one is about.

    Headlines received at the same time make one request (or as few as ``max_batch`` allows), whatever they are
    about; with ``traffic``, one for each version that their instruments are with. Where one of them makes it fail,
    halves are asked about, and so on, until it stands alone: it is left out, and its neighbours have their scores.
    The sentiment is `trading.news.decayed_mean` of the scores, by the times of receipt; it takes
    effect when their answer is there.

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
        """Instrument -> ``ts_init`` of the headlines that got no answer."""
        self._sentiment = {name: DecayedMean(config.half_life_ns) for name in config.instrument_ids}
        self._received_ns = -1
        """When the headlines that are being collected were received."""
        self._due_ns = -1
        """When their scores are there."""
        self._waiting: list[NewsHeadline] = []

    def on_start(self) -> None:
        self.connect_model(TEXT_SCHEMA)
        self.msgbus.subscribe(topic=HEADLINE_TOPIC, handler=self.handle_data)

    def on_stop(self) -> None:
        self.msgbus.unsubscribe(topic=HEADLINE_TOPIC, handler=self.handle_data)
        super().on_stop()

    def on_data(self, data: NewsHeadline) -> None:
        if self.gave_up or not self.is_connected or not self._ours(data):
            return
        if data.ts_init != self._received_ns:
            self._ask()
            self._received_ns = data.ts_init
            self._due_ns = self.schedule(data.ts_init)
        self._waiting.append(data)

    def _ours(self, headline: NewsHeadline) -> list[InstrumentId]:
        """Which of our instruments it is about."""
        return [name for name in dict.fromkeys(headline.instrument_ids) if name in self._sentiment]

    def ask_waiting(self, now_ns: int) -> None:
        if self._due_ns <= now_ns:
            self._ask()  # nothing received at the same time can follow any more

    def _ask(self) -> None:
        """Ask about all headlines that are waiting, those of one route together."""
        waiting, self._waiting = self._waiting, []
        routes: dict[Route, list[Told]] = {}
        for headline in waiting:
            for route, instrument_ids in self._routes(headline).items():
                routes.setdefault(route, []).append(Told(headline, instrument_ids))
        for route, told in routes.items():
            for start in range(0, len(told), self.config.max_batch):
                if not self.gave_up:
                    self._ask_together(route, told[start : start + self.config.max_batch])

    def _routes(self, headline: NewsHeadline) -> dict[Route, list[InstrumentId]]:
        """Whom to ask about a headline, and for which of our instruments."""
        routes: dict[Route, list[InstrumentId]] = {}
        for instrument_id in self._ours(headline):
            routes.setdefault(self.route(instrument_id, headline.ts_event), []).append(instrument_id)
        return routes

    def _ask_together(self, route: Route, told: list[Told]) -> None:
        texts = [each.headline.text for each in told]
        about = [each.instrument_ids for each in told]
        try:
            answer = self.ask(route, texts, about, told[0].headline.ts_event)
        except PER_TEXT_ERRORS as error:
            if len(told) == 1:
                self._refuse(told[0], error)
                return
            middle = len(told) // 2
            for half in (told[:middle], told[middle:]):
                self._ask_together(route, half)
        except RequestError as error:
            for headline, instrument_ids in told:
                self.record_failure(error, f"the headline received at {headline.ts_init}")
                for instrument_id in instrument_ids:
                    self.failed[instrument_id].append(headline.ts_init)
            self.count_event(answered=False, on_trial=route.on_trial)
        else:
            self.count_event(answered=True)
            for row, each in enumerate(told):
                self._take_in(answer, row, each)

    def _refuse(self, told: Told, error: RequestError) -> None:
        """Leave a headline out; the model did answer, so this does not count towards giving up."""
        self.log.warning(f"The headline received at {told.headline.ts_init} was not read: {error}")
        self.count_event(answered=True)
        for instrument_id in told.instrument_ids:
            self.unreadable[instrument_id].append(told.headline.ts_init)

    def _take_in(self, answer: PredictionResponse, row: int, told: Told) -> None:
        score = answer.outputs["score"].item(row)
        for instrument_id in told.instrument_ids:
            sentiment = self._sentiment[instrument_id]
            self.pending.add(
                InstrumentSentiment(
                    ts_event=told.headline.ts_event,
                    ts_init=self._due_ns,
                    instrument_id=instrument_id,
                    score=sentiment.update(score, told.headline.ts_init),
                    last_score=score,
                    headlines=sentiment.count,
                    model=answer.model,
                    version=answer.version,
                    archive_digest=answer.digest,
                )
            )
