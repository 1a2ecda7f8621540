"""Computes features of your own, requests a prediction with every input that they make up, and publishes it."""

from collections import defaultdict

from nautilus_trader.core.data import Data
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.model.data import Bar, DataType, OrderBookDepth10, QuoteTick, TradeTick
from nautilus_trader.model.enums import BookType
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.trading.checks import BadSetting, expect
from nautilus_torchserve.trading.features.instrument_features import InstrumentFeatures, load_schema
from nautilus_torchserve.trading.features.internal_bars import CLOSED_BAR, ClosedBar
from nautilus_torchserve.trading.features.subscription import Subscription, subscription_of
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

    def feature_schema(self) -> FeatureSchema:
        return load_schema(spec_of(self.spec).features)

    def subjects(self) -> list[InstrumentId]:
        return self.instrument_ids


class FeatureActor(RowActor):
    """Gives the data that a spec names to its streaming class, one object for each instrument.

    In a backtest, bars that NautilusTrader aggregates come as data, see `trading.features.internal_bars`. In a live run
    with ``warm_up_ns`` the features are filled from history first, without requests.

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

    def on_start(self) -> None:
        self.connect_model(self.config.feature_schema())
        for subscription in self._features:
            self._subscribe(subscription)
        if not self.is_live:
            self.msgbus.subscribe(topic=f"data.{CLOSED_BAR.topic}", handler=self._on_closed_bar)
        since = self.begin_warm_start(self._add_history)
        if since is None:
            self._warm_start.is_over = True
            return
        for kind, instrument_id, bar_type, _ in self._checked_history():
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
        elif self.is_live or not subscription.is_internal:
            self.subscribe_bars(bar_type)

    def _checked_history(self) -> list[Subscription]:
        """Return the subscriptions, of which history can be requested and put into the order of its receipt.

        Raises
        ------
        BadSetting
            There are several kinds of data, or of one that venues have no history of.
        """
        subscriptions = list(self._features)
        kinds = {subscription.kind for subscription in subscriptions}
        is_internal = any(subscription.is_internal for subscription in subscriptions)
        if len(kinds) > 1 or is_internal or not kinds <= {"trades", "quotes", "bars"}:
            raise BadSetting(
                "expected warm_up_ns of 0 for features of anything but trades alone, quotes alone or EXTERNAL bars "
                f"alone, got {self.config.warm_up_ns}: the others are filled from the stream"
            )
        return subscriptions

    @isolate_errors
    def on_historical_data(self, data: Data) -> None:
        if subscription_of(data) in self._features:
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
            for features in self._features[subscription_of(data)]:
                features.update(data)
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
