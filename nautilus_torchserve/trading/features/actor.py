"""Computes features of your own, requests a prediction with every input that they make up, and publishes it."""

from collections import defaultdict
from collections.abc import Iterable

from nautilus_trader.core.data import Data
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.data import Bar, DataType, OrderBookDepth10, QuoteTick, TradeTick
from nautilus_trader.model.enums import BookType
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.models.spec import ModelSpec
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.features.instrument_features import InstrumentFeatures, load_schema
from nautilus_torchserve.trading.features.internal_bars import CLOSED_BAR, ClosedBar, InternalBars
from nautilus_torchserve.trading.features.subscription import Subscription, source_of, subscription_of, subscriptions_of
from nautilus_torchserve.trading.inference.config import ModelActorConfig
from nautilus_torchserve.trading.inference.messages import PredictionRequest
from nautilus_torchserve.trading.inference.row_actor import RowActor
from nautilus_torchserve.trading.isolate_errors import isolate_errors
from nautilus_torchserve.trading.warm_start import WarmStart


class FeatureActorConfig(ModelActorConfig, kw_only=True, frozen=True):
    """Configuration for `FeatureActor`, in addition to `ModelActorConfig`.

    Parameters
    ----------
    spec : str
        The model's spec, see `models.table.spec_of`: ``model_defs.my_model:SPEC``.
    instrument_ids : list of InstrumentId
        The instruments that predictions are about.
    first_ts_init : int
        Data received before this fill the features, without requests (Unix nanoseconds).
    """

    spec: str
    instrument_ids: list[InstrumentId]
    first_ts_init: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [str(instrument_id) for instrument_id in self.instrument_ids]
        expect(bool(names), "instrument_ids of at least 1 instrument, got none")
        expect(len(set(names)) == len(names), f"instrument_ids of different instruments, got {', '.join(names)}")
        if self.warm_up_ns:
            sources = map(source_of, subscriptions_of(spec_of(self.spec).features, self.instrument_ids))
            kinds = {source.kind for source in sources}
            expect(  # history of several kinds could not be put into the order of its receipt
                len(kinds) == 1 and kinds <= {"trades", "quotes", "bars"},
                "warm_up_ns of 0 for features of anything but trades, quotes or EXTERNAL bars alone, and bars of them, "
                f"got {self.warm_up_ns}: the others are filled from the stream",
            )

    def feature_schema(self) -> FeatureSchema:
        return load_schema(spec_of(self.spec).features)

    def model_spec(self) -> ModelSpec:
        return spec_of(self.spec)

    def subjects(self) -> list[InstrumentId]:
        return self.instrument_ids


class FeatureActor(RowActor):
    """Gives the data that a spec names to its streaming class, one object for each instrument.

    Bars that NautilusTrader aggregates come as data in a backtest, see `trading.features.internal_bars`. In a live run
    they are made of the same history and stream by the same aggregators, and closed by the engine's timers. With
    ``warm_up_ns`` the features are filled from history first, without requests.

    Parameters
    ----------
    config : FeatureActorConfig
    """

    def __init__(self, config: FeatureActorConfig) -> None:
        super().__init__(config, config.instrument_ids)
        features = spec_of(config.spec).features
        self._features: dict[Subscription, list[InstrumentFeatures]] = defaultdict(list)
        for instrument_id in config.instrument_ids:
            about = InstrumentFeatures(features, instrument_id)
            for subscription in about.subscriptions:
                self._features[subscription].append(about)
        self._warm_start: WarmStart[Data] = WarmStart(_identity)
        self._histories = 0
        """Requests for history that have not been answered yet."""
        self._bars = InternalBars([], [])
        """In a live run: makes the bars that NautilusTrader aggregates."""
        self._sources = list(dict.fromkeys(map(source_of, self._features)))
        """Data that the features, and the bars among them, are made of."""

    def on_start(self) -> None:
        self.connect_model(self.config.feature_schema())
        if self.is_live:
            self._make_bars()
        else:
            self.msgbus.subscribe(topic=f"data.{CLOSED_BAR.topic}", handler=self._on_closed_bar)
        for source in self._sources if self.is_live else self._features:
            self._subscribe(source)
        since = self.begin_warm_start(self._add_history)
        if since is None:
            self._warm_start.is_over = True
            return
        for kind, instrument_id, bar_type, _ in self._sources:
            self._histories += 1
            if kind == "trades":
                self.request_trade_ticks(instrument_id, start=since, callback=self._on_history)
            elif kind == "quotes":
                self.request_quote_ticks(instrument_id, start=since, callback=self._on_history)
            else:
                self.request_bars(bar_type, start=since, callback=self._on_history)

    def _subscribe(self, subscription: Subscription) -> None:
        kind, instrument_id, bar_type, data_class = subscription
        if kind == "trades":
            self.subscribe_trade_ticks(instrument_id)
        elif kind == "quotes":
            self.subscribe_quote_ticks(instrument_id)
        elif kind == "depth":
            self.subscribe_order_book_depth(instrument_id, BookType.L2_MBP)
        elif kind == "custom":  # see `trading.prediction.prediction_topic`
            self.msgbus.subscribe(topic=f"data.{DataType(data_class).topic}", handler=self.handle_data)
        elif not subscription.is_internal:
            self.subscribe_bars(bar_type)

    def _make_bars(self) -> None:
        """Prepare the bars of a live run; the engine's own of the same types tell when they are to be closed."""
        bar_types = [item.bar_type for item in self._features if item.bar_type and item.is_internal]
        instruments = (self.cache.instrument(bar_type.instrument_id) for bar_type in bar_types)
        self._bars = InternalBars(bar_types, [instrument for instrument in instruments if instrument is not None])
        for bar_type in bar_types:
            if bar_type.spec.is_time_aggregated():
                self.subscribe_bars(bar_type)

    @isolate_errors
    def on_historical_data(self, data: Data) -> None:
        if subscription_of(data) in self._sources:
            self._warm_start.add_history(data)

    @isolate_errors
    def _on_history(self, request_id: UUID4) -> None:
        self._histories -= 1
        if not self._histories:
            self.end_warm_start()

    def _add_history(self) -> str:
        count = 0
        for data in self._warm_start.end():
            count += 1
            for datum in (*self._bars.add(data), data):
                for features in self._features.get(subscription_of(datum), ()):
                    features.update(datum)
        rows = {str(about.instrument_id): about.windows.rows for abouts in self._features.values() for about in abouts}
        return f"{count} events, rows: {', '.join(f'{rows} of {name}' for name, rows in rows.items())}"

    @isolate_errors
    def on_trade_tick(self, tick: TradeTick) -> None:
        self._add(Subscription("trades", tick.instrument_id), tick)

    @isolate_errors
    def on_quote_tick(self, tick: QuoteTick) -> None:
        self._add(Subscription("quotes", tick.instrument_id), tick)

    @isolate_errors
    def on_order_book_depth(self, depth: OrderBookDepth10) -> None:
        self._add(Subscription("depth", depth.instrument_id), depth)

    @isolate_errors
    def on_bar(self, bar: Bar) -> None:
        if self.is_live and bar.bar_type.is_internally_aggregated():
            self._take_bars(self._bars.close_until(bar.ts_init) if self._warm_start.is_over else ())
        else:
            self._add(Subscription("bars", bar.bar_type.instrument_id, bar.bar_type), bar)

    @isolate_errors
    def on_data(self, data: Data) -> None:
        self._add(Subscription("custom", data_class=type(data)), data)

    def _on_closed_bar(self, closed: ClosedBar) -> None:
        self.on_bar(closed.bar)

    def _add(self, subscription: Subscription, data: Data) -> None:
        if not self._warm_start.is_over:
            self._warm_start.hold(data)
            return
        self._take_bars(self._bars.add(data))
        self._update(subscription, data)

    def _take_bars(self, bars: Iterable[Bar]) -> None:
        for bar in bars:
            self._update(Subscription("bars", bar.bar_type.instrument_id, bar.bar_type), bar)

    def _update(self, subscription: Subscription, data: Data) -> None:
        for about in self._features.get(subscription, ()):
            model_input = about.update(data)
            if model_input is not None and data.ts_init >= self.config.first_ts_init:
                number = about.windows.rows - 1
                self.request(PredictionRequest(about.instrument_id, number, data.ts_event, data.ts_init, model_input))


def _identity(data: Data) -> tuple[object, ...]:
    """Return what identifies an event of history that the stream may have brought, too."""
    if isinstance(data, TradeTick):
        return data.instrument_id, data.trade_id.value
    if isinstance(data, QuoteTick):
        return data.instrument_id, data.ts_event, data.bid_price, data.ask_price, data.bid_size, data.ask_size
    return subscription_of(data), data.ts_event
