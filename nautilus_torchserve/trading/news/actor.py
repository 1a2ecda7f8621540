"""Requests predictions of an ensemble: windows of bars, each with the headlines about its instrument before it."""

from collections.abc import Sequence
from dataclasses import dataclass

from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.features.news_window import NewsWindowConfig, RecentNews
from nautilus_torchserve.serving.client.client import PredictionResponse
from nautilus_torchserve.trading.bars.actor import BarInferenceActor, BarInferenceActorConfig
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.inference.messages import PredictionRequest
from nautilus_torchserve.trading.news.headline import HEADLINE_TOPIC, NewsCounts, NewsHeadline
from nautilus_torchserve.trading.news.sentiment_actor import PER_TEXT_ERRORS
from nautilus_torchserve.traffic.assignment import Route
from nautilus_torchserve.wire.errors import PER_ROW_ERRORS, RequestError
from nautilus_torchserve.wire.news_windows import MAX_TEXTS, NewsWindow


class NewsBarActorConfig(BarInferenceActorConfig, kw_only=True, frozen=True):
    """Configuration for `NewsBarActor`, in addition to `BarInferenceActorConfig`.

    Parameters
    ----------
    max_news_age_ns : int
        Headlines received longer than this before a bar are not sent (nanoseconds); the model's own ``max_age_ns``.
    max_texts : int
        Largest number of headlines with one window, the newest ones; the model's own ``max_texts``.
    """

    max_news_age_ns: int
    max_texts: int
    model: str = "ensemble"

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.max_news_age_ns >= 1, f"max_news_age_ns of at least 1, got {self.max_news_age_ns}")
        expect(1 <= self.max_texts <= MAX_TEXTS, f"max_texts of 1 to {MAX_TEXTS}, got {self.max_texts}")


@dataclass(eq=False, slots=True)
class PendingHeadline:
    """A headline that is sent with windows."""

    text: str
    received_ns: int
    is_readable: bool = False
    """Whether the model has accepted it; until then it may turn out unreadable."""


class NewsBarActor(BarInferenceActor):
    """A `BarInferenceActor` whose windows carry the headlines about their instruments.

    These are headlines received **before** the bar was: ``ts_init`` of the headline < ``ts_init`` of the bar; see
    `features.news_window`. One received at the bar's very nanosecond waits for the next bar: which of the two is
    handled first is arbitrary (a backtest takes data of one time in the order in which they are
    configured, a live feed in the order of its sockets), so nothing may depend on it.

    A headline that the model cannot read costs no window its prediction. Where a request fails for its texts, each
    window is sent alone, with each headline alone that has not been read before; those that are refused are dropped
    for good, and the window is sent with the others.

    Parameters
    ----------
    config : NewsBarActorConfig
    """

    can_be_live = False
    inputs = "windows and texts"
    per_row_errors = (*PER_ROW_ERRORS, *PER_TEXT_ERRORS)

    def __init__(self, config: NewsBarActorConfig) -> None:
        super().__init__(config)
        instrument_ids = config.subjects()
        self.headlines: dict[InstrumentId, int] = dict.fromkeys(instrument_ids, 0)
        """Instrument -> headlines received."""
        self.unreadable: dict[InstrumentId, list[int]] = {instrument_id: [] for instrument_id in instrument_ids}
        """Instrument -> ``ts_init`` of the headlines that the model could not read."""
        self._last_refusal = dict.fromkeys(instrument_ids, "")
        self._sent_windows: dict[InstrumentId, NewsWindow] = {}
        window = NewsWindowConfig(config.max_news_age_ns, config.max_texts)
        self._news = {instrument_id: RecentNews[PendingHeadline](window) for instrument_id in instrument_ids}

    def on_start(self) -> None:
        super().on_start()
        self.msgbus.subscribe(topic=HEADLINE_TOPIC, handler=self.handle_data)

    def on_stop(self) -> None:
        self.msgbus.unsubscribe(topic=HEADLINE_TOPIC, handler=self.handle_data)
        super().on_stop()

    def on_data(self, data: NewsHeadline) -> None:
        for instrument_id in dict.fromkeys(data.instrument_ids):
            if instrument_id in self._news:
                self.headlines[instrument_id] += 1
                self._news[instrument_id].add(data.ts_init, PendingHeadline(data.text, data.ts_init))

    def news_counts(self, instrument_id: InstrumentId) -> NewsCounts:
        return NewsCounts(
            self.headlines[instrument_id], len(self.unreadable[instrument_id]), self._last_refusal[instrument_id]
        )

    def sent_inputs(self, request: PredictionRequest) -> NewsWindow:
        return self._sent_windows[request.instrument_id]

    def predict(self, route: Route, requests: list[PredictionRequest]) -> PredictionResponse:
        try:
            return self._predict(route, requests, [self._recent_headlines(request) for request in requests])
        except PER_TEXT_ERRORS:
            if len(requests) > 1:
                raise  # each is sent alone then
            return self._predict_with_readable(route, requests[0])

    def _predict(
        self, route: Route, requests: Sequence[PredictionRequest], news: Sequence[list[PendingHeadline]]
    ) -> PredictionResponse:
        windows = [
            NewsWindow(
                request.features,
                tuple(headline.text for headline in headlines),
                tuple((self._received_ns - headline.received_ns) / 1e9 for headline in headlines),
            )
            for request, headlines in zip(requests, news, strict=True)
        ]
        subjects = [[request.instrument_id] for request in requests]
        response = self.send(route, windows, subjects, requests[0].ts_event)
        for request, window, headlines in zip(requests, windows, news, strict=True):
            self._sent_windows[request.instrument_id] = window
            for headline in headlines:
                headline.is_readable = True
        return response

    def _recent_headlines(self, request: PredictionRequest) -> list[PendingHeadline]:
        """Return the headlines to send with a window."""
        return [headline for _, headline in self._news[request.instrument_id].before(self._received_ns)]

    def _predict_with_readable(self, route: Route, request: PredictionRequest) -> PredictionResponse:
        """Send a window without the headlines that the model refuses, at worst without any."""
        readable = self._recent_headlines(request)
        while unread := [headline for headline in readable if not headline.is_readable]:
            for headline in unread:
                try:
                    self._predict(route, [request], [[headline]])
                except PER_TEXT_ERRORS as error:
                    self._drop_headline(request.instrument_id, headline, error)
            readable = self._recent_headlines(request)  # older ones may have come into the places of those dropped
        while readable:
            try:
                return self._predict(route, [request], [readable])
            except PER_TEXT_ERRORS:
                readable = readable[1:]  # each can be read, all together are too long: the oldest goes
        return self._predict(route, [request], [[]])

    def _drop_headline(self, instrument_id: InstrumentId, headline: PendingHeadline, error: RequestError) -> None:
        self._news[instrument_id].drop(headline)
        self.unreadable[instrument_id].append(headline.received_ns)
        self._last_refusal[instrument_id] = f"{type(error).__name__}: {error}"
        self.log.warning(f"{instrument_id}'s headline received at {headline.received_ns} was not read: {error}")
