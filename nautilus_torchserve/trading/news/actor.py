"""Asks an ensemble about bars and the news before them: windows as they are, each with its instrument's headlines."""

from collections.abc import Sequence
from dataclasses import dataclass

from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.features.news_window import NewsWindowConfig, RecentNews
from nautilus_torchserve.serving.client.client import PredictionResponse
from nautilus_torchserve.trading.bars.actor import BarInferenceActor, BarInferenceActorConfig
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.inference.messages import PredictionRequest
from nautilus_torchserve.trading.news.headline import HEADLINE_TOPIC, NewsHeadline
from nautilus_torchserve.trading.news.news_counts import NewsCounts
from nautilus_torchserve.trading.news.sentiment_actor import PER_TEXT_ERRORS
from nautilus_torchserve.traffic.assignment import Route
from nautilus_torchserve.wire.errors import PER_ROW_ERRORS, RequestError
from nautilus_torchserve.wire.news_windows import NewsWindow
from nautilus_torchserve.wire.texts import MOST_TEXTS


class NewsBarActorConfig(BarInferenceActorConfig, kw_only=True, frozen=True):
    """Configuration of `NewsBarActor`: what `BarInferenceActorConfig` has, and this.

    Parameters
    ----------
    max_news_age_ns : int
        Headlines received longer than this before a bar are not told any more (nanoseconds); the model's own
        ``max_age_ns``.
    max_texts : int
        Most headlines with one window, the newest ones; the model's own, too.
    """

    max_news_age_ns: int
    max_texts: int
    model: str = "ensemble"

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.max_news_age_ns >= 1, f"max_news_age_ns of at least 1, was {self.max_news_age_ns}")
        expect(1 <= self.max_texts <= MOST_TEXTS, f"max_texts of 1 to {MOST_TEXTS}, was {self.max_texts}")


@dataclass(eq=False, slots=True)
class _Heard:
    """One headline."""

    text: str
    received_ns: int
    read: bool = False
    """Whether the model has answered with it; until then it may turn out unreadable."""


class NewsBarActor(BarInferenceActor):
    """A `BarInferenceActor` whose windows carry the headlines about their instruments.

    These are headlines received **before** the bar was: ``ts_init`` of the headline < ``ts_init`` of the bar; see
    `features.news_window`. One received at the bar's very nanosecond waits for the next bar: which
    of the two is
    handled first is no fact about the market (a backtest takes data of one time in the order in which they are
    configured, a live feed in the order of its sockets), so nothing may depend on it.

    A headline that the model cannot read costs no window its prediction. Where a request fails for its texts, each
    window is asked about alone, and with it alone each headline that has not been read before; those that are
    refused are dropped for good, and the window is asked about with the others.

    Parameters
    ----------
    config : NewsBarActorConfig
    """

    can_be_live = False
    inputs = "windows and texts"
    of_one_row = (*PER_ROW_ERRORS, *PER_TEXT_ERRORS)

    def __init__(self, config: NewsBarActorConfig) -> None:
        super().__init__(config)
        instrument_ids = [bar_type.instrument_id for bar_type in config.bar_types]
        self.headlines: dict[InstrumentId, int] = dict.fromkeys(instrument_ids, 0)
        """Instrument -> headlines received."""
        self.unreadable: dict[InstrumentId, list[int]] = {instrument_id: [] for instrument_id in instrument_ids}
        """Instrument -> ``ts_init`` of the headlines that the model could not read."""
        self._last_refusal = dict.fromkeys(instrument_ids, "")
        self._answered: dict[InstrumentId, NewsWindow] = {}
        window = NewsWindowConfig(config.max_news_age_ns, config.max_texts)
        self._news = {instrument_id: RecentNews[_Heard](window) for instrument_id in instrument_ids}

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
                self._news[instrument_id].add(data.ts_init, _Heard(data.text, data.ts_init))

    def news_counts(self, instrument_id: InstrumentId) -> NewsCounts:
        return NewsCounts(
            self.headlines[instrument_id], len(self.unreadable[instrument_id]), self._last_refusal[instrument_id]
        )

    def told(self, question: PredictionRequest) -> NewsWindow:
        return self._answered[question.instrument_id]

    def predict(self, route: Route, asked: list[PredictionRequest]) -> PredictionResponse:
        try:
            return self._predict(route, asked, [self._told(window) for window in asked])
        except PER_TEXT_ERRORS:
            if len(asked) > 1:
                raise  # each comes alone then
            return self._predict_with_readable(route, asked[0])

    def _predict(
        self, route: Route, asked: Sequence[PredictionRequest], told: Sequence[list[_Heard]]
    ) -> PredictionResponse:
        windows = [
            NewsWindow(
                window.asked,
                tuple(each.text for each in heard),
                tuple((self._received_ns - each.received_ns) / 1e9 for each in heard),
            )
            for window, heard in zip(asked, told, strict=True)
        ]
        answer = self.ask(route, windows, [[each.instrument_id] for each in asked], asked[0].ts_event)
        self._answered.update({each.instrument_id: window for each, window in zip(asked, windows, strict=True)})
        for heard in told:
            for each in heard:
                each.read = True
        return answer

    def _told(self, window: PredictionRequest) -> list[_Heard]:
        """The headlines to tell with a window."""
        return [heard for _, heard in self._news[window.instrument_id].before(self._received_ns)]

    def _predict_with_readable(self, route: Route, window: PredictionRequest) -> PredictionResponse:
        """Ask about a window without the headlines that the model refuses, at worst without any."""
        readable = self._told(window)
        while unread := [each for each in readable if not each.read]:
            for each in unread:
                try:
                    self._predict(route, [window], [[each]])
                except PER_TEXT_ERRORS as error:
                    self._refuse(window.instrument_id, each, error)
            readable = self._told(window)  # older ones may have come into the places of those refused
        while readable:
            try:
                return self._predict(route, [window], [readable])
            except PER_TEXT_ERRORS:
                readable = readable[1:]  # each can be read, all together are too long: the oldest goes
        return self._predict(route, [window], [[]])

    def _refuse(self, instrument_id: InstrumentId, heard: _Heard, error: RequestError) -> None:
        """Drop a headline; the others were and will be told."""
        self._news[instrument_id].drop(heard)
        self.unreadable[instrument_id].append(heard.received_ns)
        self._last_refusal[instrument_id] = f"{type(error).__name__}: {error}"
        self.log.warning(f"{instrument_id}'s headline received at {heard.received_ns} was not read: {error}")
