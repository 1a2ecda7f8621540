"""Requests predictions about the bars of several instruments, those that close together in one request."""

from typing import Any

import numpy as np
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import FIXED_PRECISION, Price, Quantity
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import bar_schema
from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.client.client import PredictionResponse
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.simulated_time import check_bar_types
from nautilus_torchserve.trading.bars.features import BarFeatures
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.inference.actor import ModelActor
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.messages import PredictionRequest
from nautilus_torchserve.trading.isolate_errors import isolate_errors
from nautilus_torchserve.trading.news.headline import NewsCounts
from nautilus_torchserve.trading.warm_start import WarmStart
from nautilus_torchserve.traffic.assignment import Route
from nautilus_torchserve.wire.errors import PER_ROW_ERRORS, RequestError, SchemaMismatch, is_refusal
from nautilus_torchserve.wire.news_windows import NewsWindow


class BarInferenceActorConfig(ModelActorConfig, kw_only=True, frozen=True):
    """Configuration for `BarInferenceActor`, in addition to `ModelActorConfig`.

    Parameters
    ----------
    bar_types : list of BarType
        The bars to follow: one type for each instrument, all of one interval.
    indicators : bool
        Whether the windows carry the columns of `features.bar`; must be the model's.
    max_gap_ns : int
        Bars further apart than this have a break between them, which no window spans (nanoseconds).
    batch_wait_ns : int
        In a backtest: longest wait for the bars of the other instruments, at most ``latency_ns`` (nanoseconds). In
        a live run nothing waits: bars that close while a call is in flight go into the next one.
    first_ts_event : int
        Bars that closed before this fill the windows, without requests (Unix nanoseconds).
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
        expect(bool(names), "bar_types of at least 1 instrument, got none")
        expect(len(set(names)) == len(names), f"bar_types of different instruments, got {', '.join(names)}")
        specs = sorted({str(bar_type.spec) for bar_type in self.bar_types})
        expect(len(specs) == 1, f"bar_types of one interval, got {', '.join(specs)}")
        expect(self.bar_types[0].spec.is_time_aggregated(), f"bar_types by time, got {specs[0]}")
        expect(self.max_gap_ns >= 1, f"max_gap_ns of at least 1, got {self.max_gap_ns}")
        expect(
            self.latency_profile is not None or 0 <= self.batch_wait_ns <= self.latency_ns,
            f"batch_wait_ns of 0 to latency_ns = {self.latency_ns}, got {self.batch_wait_ns}",
        )

    @classmethod
    def metadata_fields(cls, metadata: ModelMetadata) -> dict[str, Any]:
        expect(metadata.takes_bars, f"a model of bars, got {metadata.feature_schema.name}")
        bars = metadata.require_bars()
        return {"indicators": bars.indicators, "max_gap_ns": bars.max_gap_ns}

    def feature_schema(self) -> FeatureSchema:
        return bar_schema(self.indicators)

    def subjects(self) -> list[InstrumentId]:
        return [bar_type.instrument_id for bar_type in self.bar_types]


class BarInferenceActor(ModelActor):
    """Updates the windows of several instruments, and requests and publishes the predictions about them.

    Bars received at the same time make one request (with ``traffic``, one for each version that their instruments
    are with), which leaves with the last instrument's bar, or after ``batch_wait_ns`` with those that are there.
    Where one window makes it fail, each is sent alone, once, so that the others get their predictions. In a live run
    each bar is sent at once, or with the next call where one is in flight.

    Parameters
    ----------
    config : BarInferenceActorConfig
    """

    inputs = "rows"
    """The kind of inputs that the model must take."""
    per_row_errors: tuple[type[RequestError], ...] = PER_ROW_ERRORS
    """Errors after which each window of a request is sent alone."""

    def __init__(self, config: BarInferenceActorConfig) -> None:
        instrument_ids = config.subjects()
        super().__init__(config, instrument_ids)
        self.failed: dict[InstrumentId, list[int]] = {instrument_id: [] for instrument_id in instrument_ids}
        """Instrument -> ``ts_event`` of the bars whose requests failed."""
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
        """When the predictions about them take effect."""
        self._arrived: set[InstrumentId] = set()
        self._waiting: list[PredictionRequest] = []
        self._warm_start: WarmStart[Bar] = WarmStart(lambda bar: (bar.bar_type, bar.ts_event))
        self._histories = len(config.bar_types)
        """Instruments whose history has not arrived yet."""

    def on_start(self) -> None:
        check_bar_types(self.config.bar_types, self.clock)
        self.connect_model(self.config.feature_schema(), self._check_metadata)
        for bar_type in self.config.bar_types:
            self.subscribe_bars(bar_type)
        since = self.begin_warm_start(self._add_history)
        if since is None:
            self._warm_start.is_over = True
            return
        for bar_type in self.config.bar_types:
            self.request_bars(bar_type, start=since, callback=self._on_history)

    def _check_metadata(self, metadata: ModelMetadata) -> None:
        inputs = metadata.inputs
        if inputs != self.inputs:
            raise SchemaMismatch(f"expected a model that takes {self.inputs}, got one of {inputs}")
        expected_ns = self.config.bar_types[0].spec.get_interval_ns()
        interval_ns = metadata.require_bars().interval_ns
        if interval_ns != expected_ns:
            raise SchemaMismatch(
                f"expected a model of {expected_ns / 1e9:g} s bars, got one of {interval_ns / 1e9:g} s"
            )

    @isolate_errors
    def on_historical_data(self, data: Bar) -> None:
        if isinstance(data, Bar) and data.bar_type in self.config.bar_types:
            self._warm_start.add_history(data)

    @isolate_errors
    def _on_history(self, request_id: UUID4) -> None:
        self._histories -= 1
        if not self._histories:
            self.end_warm_start()

    def _add_history(self) -> str:
        for bar in self._warm_start.end():
            self._window(bar)
        return ", ".join(f"{count} bars of {instrument_id}" for instrument_id, count in self._seen.items())

    @isolate_errors
    def on_bar(self, bar: Bar) -> None:
        if not self._warm_start.is_over:
            self._warm_start.hold(bar)
            return
        rows = self._window(bar)
        if self.gave_up or not self.is_connected or bar.ts_event < self.config.first_ts_event:
            return
        instrument_id = bar.bar_type.instrument_id
        request = None
        if rows is not None:
            request = PredictionRequest(instrument_id, self._seen[instrument_id] - 1, bar.ts_event, bar.ts_init, rows)
        if not self.is_live:
            self._collect(bar, request)
        elif request is not None:
            self.submit(request)

    def _window(self, bar: Bar) -> NDArray[np.float32] | None:
        instrument_id = bar.bar_type.instrument_id
        self._seen[instrument_id] += 1
        features = self._features[instrument_id]
        before = features.without_volume
        rows = features.update(
            exact(bar.open), exact(bar.high), exact(bar.low), exact(bar.close), exact(bar.volume), bar.ts_event
        )
        if features.without_volume > before and instrument_id not in self._quiet:
            self.log.warning(f"{instrument_id} has had no volume for a whole window: no predictions until it trades")
        (self._quiet.add if features.without_volume > before else self._quiet.discard)(instrument_id)
        return rows

    @property
    def without_volume(self) -> dict[InstrumentId, int]:
        """Instrument -> windows without volume, which get no predictions."""
        return {instrument_id: features.without_volume for instrument_id, features in self._features.items()}

    def _collect(self, bar: Bar, request: PredictionRequest | None) -> None:
        """Collect the bars received together for one request."""
        if bar.ts_init != self._received_ns:
            self._send_collected()
            self._collect_from(bar.ts_init)
        self._arrived.add(bar.bar_type.instrument_id)
        if request is not None:
            self._waiting.append(request)
        if len(self._arrived) == len(self._features):
            self._send_collected()

    def _collect_from(self, received_ns: int) -> None:
        self._received_ns = received_ns
        self._arrived.clear()
        self._due_ns = self.schedule(received_ns)
        if len(self._features) > 1:
            self.set_alert(self._send_by_ns())

    def _send_by_ns(self) -> int:
        """Return when the bars that are there are sent, whichever are missing, Unix ns."""
        return min(self._received_ns + self.config.batch_wait_ns, self._due_ns)

    def send_waiting(self, now_ns: int) -> None:
        if self._send_by_ns() <= now_ns:
            self._send_collected()

    def _send_collected(self) -> None:
        """Send all windows that are waiting, those of one route together."""
        waiting, self._waiting = self._waiting, []
        routes: dict[Route, list[PredictionRequest]] = {}
        for request in waiting:
            routes.setdefault(self.route(request.instrument_id, request.ts_event), []).append(request)
        responded = [self._predict_together(route, requests) for route, requests in routes.items()]
        if waiting:
            self.count_event(any(responded), on_trial=all(route.on_trial for route in routes))

    def predict(self, route: Route, requests: list[PredictionRequest]) -> PredictionResponse:
        """Send one call with windows of bars that were received at the same time."""
        subjects = [[request.instrument_id] for request in requests]
        return self.send(route, np.stack([request.features for request in requests]), subjects, requests[0].ts_event)

    def sent_inputs(self, request: PredictionRequest) -> NewsWindow | None:
        """Return the model's input for a predicted window, if that was more than the window."""
        return None

    def news_counts(self, instrument_id: InstrumentId) -> NewsCounts | None:
        """Return the counts of the news about an instrument; None where the model reads none."""
        return None

    def _predict_together(self, route: Route, requests: list[PredictionRequest]) -> bool:
        """Send one call; return whether the model responded to any of its windows, be it with a refusal."""
        try:
            response = self.predict(route, requests)
        except RequestError as error:
            if len(requests) > 1 and isinstance(error, self.per_row_errors):
                responded = [self._predict_together(route, [request]) for request in requests]
                return any(responded)
            is_refused = is_refusal(error, self.per_row_errors)
            for request in requests:
                (self.refused_rows if is_refused else self.failed)[request.instrument_id].append(request.ts_event)
                record = self.record_refusal if is_refused else self.record_failure
                record(error, f"{request.instrument_id}'s bar of {request.ts_event}")
            return is_refused
        for row, request in enumerate(requests):
            self.schedule_publish(response, row, request, self._due_ns, route.split, self.sent_inputs(request))
        return True


def exact(value: Price | Quantity) -> float:
    """Return the float64 nearest to the decimal value, whatever its precision; ``as_double`` rounds twice."""
    return value.raw / 10**FIXED_PRECISION  # of integers: rounded once
