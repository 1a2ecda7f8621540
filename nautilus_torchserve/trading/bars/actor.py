"""Asks a model about the bars of several instruments, those that close together in one request."""

import numpy as np
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import FIXED_PRECISION, Price, Quantity
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import bar_schema
from nautilus_torchserve.serving.client.client import PredictionResponse
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.simulated_time import check_bar_types
from nautilus_torchserve.trading.bars.features import BarFeatures
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.inference.actor import ModelActor
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.messages import PredictionRequest
from nautilus_torchserve.trading.inference.warm_start import WarmStart
from nautilus_torchserve.trading.isolate_errors import isolate_errors
from nautilus_torchserve.trading.news.news_counts import NewsCounts
from nautilus_torchserve.traffic.assignment import Route
from nautilus_torchserve.wire.errors import PER_ROW_ERRORS, RequestError, SchemaMismatch, is_refusal
from nautilus_torchserve.wire.news_windows import NewsWindow


class BarInferenceActorConfig(ModelActorConfig, kw_only=True, frozen=True):
    """Configuration of `BarInferenceActor`: what `ModelActorConfig` has, and this.

    Parameters
    ----------
    bar_types : list of BarType
        Whose bars to ask about: one type for each instrument, all of one interval.
    indicators : bool
        Whether the windows carry the columns of `features.indicators`; must be the model's.
    max_gap_ns : int
        Bars further apart than this have a break between them, which no window spans (nanoseconds).
    batch_wait_ns : int
        In a backtest: longest wait for the bars of the other instruments, at most ``latency_ns`` (nanoseconds). In
        a live run nothing waits: what closes while a request is under way goes into the next one.
    first_ts_event : int
        Bars that closed before this fill the windows, but are not asked about (Unix nanoseconds).
    """

    bar_types: list[BarType]
    max_gap_ns: int
    model: str = "price"
    latency_ns: int = 10_000_000
    indicators: bool = False
    batch_wait_ns: int = 5_000_000
    first_ts_event: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [str(bar_type.instrument_id) for bar_type in self.bar_types]
        expect(bool(names), "bar_types of at least 1 instrument, was none")
        expect(len(set(names)) == len(names), f"bar_types of different instruments, was {', '.join(names)}")
        specs = sorted({str(bar_type.spec) for bar_type in self.bar_types})
        expect(len(specs) == 1, f"bar_types of one interval, was {', '.join(specs)}")
        expect(self.bar_types[0].spec.is_time_aggregated(), f"bar_types by time, was {specs[0]}")
        expect(self.max_gap_ns >= 1, f"max_gap_ns of at least 1, was {self.max_gap_ns}")
        expect(
            self.latency_profile is not None or 0 <= self.batch_wait_ns <= self.latency_ns,
            f"batch_wait_ns of 0 to latency_ns = {self.latency_ns}, was {self.batch_wait_ns}",
        )


class BarInferenceActor(ModelActor):
    """Keeps the windows of several instruments, asks about those that fall due together, publishes what is said.

    Bars received at the same time make one request (with ``traffic``, one for each version that their instruments
    are with), which leaves with the last instrument's bar, or after ``batch_wait_ns`` with those that are there.
    Where one window makes it fail, each is asked about alone, once, so that the others get their predictions. In a
    live run each bar is asked about at once, or with the next request where one is under way.

    Parameters
    ----------
    config : BarInferenceActorConfig
    """

    inputs = "rows"
    """What the model must take."""
    of_one_row: tuple[type[RequestError], ...] = PER_ROW_ERRORS
    """Errors after which each window of a request is asked about alone."""

    def __init__(self, config: BarInferenceActorConfig) -> None:
        instrument_ids = [bar_type.instrument_id for bar_type in config.bar_types]
        super().__init__(config, instrument_ids)
        self.failed: dict[InstrumentId, list[int]] = {instrument_id: [] for instrument_id in instrument_ids}
        """Instrument -> ``ts_event`` of the bars that got no answer."""
        self.refused_rows: dict[InstrumentId, list[int]] = {instrument_id: [] for instrument_id in instrument_ids}
        """Instrument -> ``ts_event`` of the bars whose windows the model refused."""
        self._features = {
            instrument_id: BarFeatures(config.indicators, config.max_gap_ns) for instrument_id in instrument_ids
        }
        self._quiet: set[InstrumentId] = set()
        """Instruments whose last window had no volume."""
        self._seen = dict.fromkeys(instrument_ids, 0)
        self._received_ns = -1
        """When the bars that are being collected were received."""
        self._due_ns = -1
        """When the answers about them are there."""
        self._arrived: set[InstrumentId] = set()
        self._waiting: list[PredictionRequest] = []
        self._warm_start: WarmStart[Bar] = WarmStart(lambda bar: (bar.bar_type, bar.ts_event))
        self._histories = len(config.bar_types)
        """Instruments whose history has not come yet."""

    def on_start(self) -> None:
        check_bar_types(self.config.bar_types, self.clock)
        self.connect_model(bar_schema(self.config.indicators), self._refuse_other_bars)
        for bar_type in self.config.bar_types:
            self.subscribe_bars(bar_type)
        since = self.warm_up(self._take_in_history)
        if since is None:
            self._warm_start.over = True
            return
        for bar_type in self.config.bar_types:
            self.request_bars(bar_type, start=since, callback=self._on_history)

    def _refuse_other_bars(self, metadata: ModelMetadata) -> None:
        taken = metadata.inputs
        if taken != self.inputs:
            raise SchemaMismatch(f"a model that takes {self.inputs} expected, was one of {taken}")
        ours = self.config.bar_types[0].spec.get_interval_ns()
        theirs = metadata.require_bars().interval_ns
        if theirs != ours:
            raise SchemaMismatch(f"a model of {ours / 1e9:g} s bars expected, was of {theirs / 1e9:g} s")

    @isolate_errors
    def on_historical_data(self, data: Bar) -> None:
        if isinstance(data, Bar) and data.bar_type in self.config.bar_types:
            self._warm_start.past(data)

    @isolate_errors
    def _on_history(self, request_id: UUID4) -> None:
        self._histories -= 1
        if not self._histories:
            self.end_warm_up()

    def _take_in_history(self) -> str:
        for bar in self._warm_start.end():
            self._window(bar)
        return ", ".join(f"{count} bars of {instrument_id}" for instrument_id, count in self._seen.items())

    @isolate_errors
    def on_bar(self, bar: Bar) -> None:
        if not self._warm_start.over:
            self._warm_start.hold(bar)
            return
        rows = self._window(bar)
        if self.gave_up or not self.is_connected or bar.ts_event < self.config.first_ts_event:
            return
        instrument_id = bar.bar_type.instrument_id
        question = None
        if rows is not None:
            question = PredictionRequest(instrument_id, self._seen[instrument_id] - 1, bar.ts_event, bar.ts_init, rows)
        if not self.is_live:
            self._collect(bar, question)
        elif question is not None:
            self.put(question)

    def _window(self, bar: Bar) -> NDArray[np.float32] | None:
        instrument_id = bar.bar_type.instrument_id
        self._seen[instrument_id] += 1
        features = self._features[instrument_id]
        left_out = features.without_volume
        rows = features.update(
            exact(bar.open), exact(bar.high), exact(bar.low), exact(bar.close), exact(bar.volume), bar.ts_event
        )
        if features.without_volume > left_out and instrument_id not in self._quiet:
            self.log.warning(f"{instrument_id} has had no volume for a whole window: no predictions until it trades")
        (self._quiet.add if features.without_volume > left_out else self._quiet.discard)(instrument_id)
        return rows

    @property
    def without_volume(self) -> dict[InstrumentId, int]:
        """Instrument -> windows that were left out as they had no volume."""
        return {instrument_id: features.without_volume for instrument_id, features in self._features.items()}

    def _collect(self, bar: Bar, question: PredictionRequest | None) -> None:
        """Ask together about bars received together."""
        if bar.ts_init != self._received_ns:
            self._ask()
            self._collect_from(bar.ts_init)
        self._arrived.add(bar.bar_type.instrument_id)
        if question is not None:
            self._waiting.append(question)
        if len(self._arrived) == len(self._features):
            self._ask()

    def _collect_from(self, received_ns: int) -> None:
        self._received_ns = received_ns
        self._arrived.clear()
        self._due_ns = self.schedule(received_ns)
        if len(self._features) > 1:
            self.set_alert(self._ask_by_ns())

    def _ask_by_ns(self) -> int:
        """When those bars are asked about that are there, whichever are missing, Unix ns."""
        return min(self._received_ns + self.config.batch_wait_ns, self._due_ns)

    def ask_waiting(self, now_ns: int) -> None:
        if self._ask_by_ns() <= now_ns:
            self._ask()

    def _ask(self) -> None:
        """Ask about all windows that are waiting, those of one route together."""
        asked, self._waiting = self._waiting, []
        routes: dict[Route, list[PredictionRequest]] = {}
        for each in asked:
            routes.setdefault(self.route(each.instrument_id, each.ts_event), []).append(each)
        answered = [self._ask_together(route, together) for route, together in routes.items()]
        if asked:
            self.count_event(any(answered), on_trial=all(route.on_trial for route in routes))

    def predict(self, route: Route, asked: list[PredictionRequest]) -> PredictionResponse:
        """One request about windows of bars that were received at the same time."""
        about = [[each.instrument_id] for each in asked]
        return self.ask(route, np.stack([each.asked for each in asked]), about, asked[0].ts_event)

    def told(self, question: PredictionRequest) -> NewsWindow | None:
        """What the model was asked about a window that it has answered, where that was more than the window."""
        return None

    def news_counts(self, instrument_id: InstrumentId) -> NewsCounts | None:
        """What became of the news about an instrument; None where the model reads none."""
        return None

    def _ask_together(self, route: Route, asked: list[PredictionRequest]) -> bool:
        """Whether the model responded to any of these windows, be it that it refused one."""
        try:
            answer = self.predict(route, asked)
        except RequestError as error:
            if len(asked) > 1 and isinstance(error, self.of_one_row):
                answered = [self._ask_together(route, [each]) for each in asked]
                return any(answered)
            refusal = is_refusal(error, self.of_one_row)
            for each in asked:
                (self.refused_rows if refusal else self.failed)[each.instrument_id].append(each.ts_event)
                record = self.record_refusal if refusal else self.record_failure
                record(error, f"{each.instrument_id}'s bar of {each.ts_event}")
            return refusal
        for row, each in enumerate(asked):
            self.schedule_publish(answer, row, each, self._due_ns, route.split, self.told(each))
        return True


def exact(value: Price | Quantity) -> float:
    """The float64 that is nearest to the decimal value, whatever its precision; ``as_double`` rounds twice."""
    return value.raw / 10**FIXED_PRECISION  # of integers: rounded once
