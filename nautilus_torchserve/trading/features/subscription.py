"""The data that a feature set names, as NautilusTrader knows them."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, BarType, OrderBookDepth10, QuoteTick, TradeTick
from nautilus_trader.model.enums import PriceType
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.quotes.quotes import Depth, Quotes
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.models.spec import FeatureSet, load_object
from nautilus_torchserve.trading.bars.types import bar_type as external_bars
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.features.custom_data import CustomSeries
from nautilus_torchserve.trading.instruments.names import engine_id

Kind = Literal["trades", "quotes", "depth", "bars", "custom"]
EXPECTED = (
    "trades, quotes, depth, bars:1-MINUTE-LAST-INTERNAL or custom:package.module:Class, each also of another "
    "instrument: trades:ETHUSDT.BINANCE"
)
_OF_INSTRUMENTS: dict[str, Kind] = {"trades": "trades", "quotes": "quotes", "depth": "depth"}
_ANY = InstrumentId.from_str("PREDICTED.INSTRUMENT")


class Subscription(NamedTuple):
    """One kind of data of one instrument."""

    kind: Kind
    instrument_id: InstrumentId | None = None
    """Of custom data None."""
    bar_type: BarType | None = None
    """Of bars."""
    data_class: type[Data] | None = None
    """Of custom data."""

    @property
    def is_internal(self) -> bool:
        """Whether these are bars that NautilusTrader aggregates."""
        return self.bar_type is not None and self.bar_type.is_internally_aggregated()

    def __str__(self) -> str:
        if self.data_class is not None:
            return f"data of {self.data_class.__name__}"
        return f"{self.kind} of {self.instrument_id if self.bar_type is None else self.bar_type}"


def parse_subscription(text: str, instrument_id: InstrumentId) -> Subscription:
    """Return what an entry of `FeatureSet.data` names.

    Parameters
    ----------
    instrument_id : InstrumentId
        The predicted instrument, which it is about where it names no other.

    Raises
    ------
    BadSetting
        It names nothing.
    """
    kind, _, rest = text.partition(":")
    try:
        if kind in _OF_INSTRUMENTS:
            return Subscription(_OF_INSTRUMENTS[kind], InstrumentId.from_str(rest) if rest else instrument_id)
        if kind == "bars" and rest:
            bar_type = BarType.from_str(rest if "." in rest else f"{instrument_id}-{rest}")
            return Subscription("bars", bar_type.instrument_id, bar_type)
    except ValueError as error:
        raise BadSetting(f"features.data: expected {EXPECTED}, got {text!r} ({error})") from None
    if kind == "custom":
        data_class = load_object(rest)
        if not (isinstance(data_class, type) and issubclass(data_class, Data)):
            raise BadSetting(f"features.data: expected a subclass of NautilusTrader's Data, got {text!r}")
        return Subscription("custom", data_class=data_class)
    raise BadSetting(f"features.data: expected {EXPECTED}, got {text!r}")


def subscriptions_of(features: FeatureSet, instrument_ids: Sequence[InstrumentId]) -> list[Subscription]:
    """Return what the streaming classes of some instruments are given, each once; raises as `parse_subscription`."""
    named = (parse_subscription(text, instrument_id) for instrument_id in instrument_ids for text in features.data)
    return list(dict.fromkeys(named))


def check_subscriptions(
    subscriptions: Sequence[Subscription], data: Sequence[Trades | Bars | Quotes | CustomSeries], spec: str
) -> None:
    """Refuse data that do not hold what features are computed from.

    Raises
    ------
    BadData
    """
    held = {subscription for item in data for subscription in held_data(item)}
    for subscription in subscriptions:
        needed = source_of(subscription)
        if needed not in held:
            got = ", ".join(map(str, sorted(map(str, held)))) or "none"
            raise BadData(f"{spec}: expected {needed}, which its features are computed from, got {got}")


def source_of(subscription: Subscription) -> Subscription:
    """Return the data that have to be there: of bars that NautilusTrader aggregates, their trades or quotes."""
    bar_type = subscription.bar_type
    if bar_type is None or not subscription.is_internal:
        return subscription
    kind: Kind = "trades" if bar_type.spec.price_type == PriceType.LAST else "quotes"
    return Subscription(kind, bar_type.instrument_id)


def held_data(data: Trades | Bars | Quotes | CustomSeries) -> tuple[Subscription, ...]:
    """Return what data hold: depth has the quotes of its best level, too."""
    if isinstance(data, CustomSeries):
        return (Subscription("custom", data_class=data.data_class),)
    instrument_id = engine_id(data.instrument.symbol, data.instrument.venue)
    if isinstance(data, Bars):
        return (Subscription("bars", instrument_id, external_bars(instrument_id, data.interval_ns)),)
    kinds: tuple[Kind, ...] = ("trades",)
    if isinstance(data, Quotes):
        kinds = ("depth", "quotes") if isinstance(data, Depth) else ("quotes",)
    return tuple(Subscription(kind, instrument_id) for kind in kinds)


def source_kinds(features: FeatureSet) -> set[Kind]:
    """Return the kinds of data of a predicted instrument that a feature set needs; raises as `parse_subscription`."""
    subscriptions = (parse_subscription(text, _ANY) for text in features.data)
    sources = [source_of(item) for item in subscriptions if item.instrument_id is not None]  # custom data have none
    return {source.kind for source in sources if source.instrument_id == _ANY}


def custom_classes(features: FeatureSet) -> list[type[Data]]:
    """Return the classes of custom data that a feature set needs; raises as `parse_subscription`."""
    subscriptions = (parse_subscription(text, _ANY) for text in features.data)
    return [item.data_class for item in dict.fromkeys(subscriptions) if item.data_class is not None]


def external_interval(features: FeatureSet) -> str | None:
    """Return the length of the EXTERNAL bars that a feature set needs, such as ``5-MINUTE``; None without any."""
    for subscription in (parse_subscription(text, _ANY) for text in features.data):
        if subscription.bar_type is not None and not subscription.is_internal:
            return "-".join(str(subscription.bar_type.spec).split("-")[:2])
    return None


def subscription_of(data: Data) -> Subscription:
    """Return the subscription that a datum is received on."""
    if isinstance(data, TradeTick):
        return Subscription("trades", data.instrument_id)
    if isinstance(data, QuoteTick):
        return Subscription("quotes", data.instrument_id)
    if isinstance(data, Bar):
        return Subscription("bars", data.bar_type.instrument_id, data.bar_type)
    if isinstance(data, OrderBookDepth10):
        return Subscription("depth", data.instrument_id)
    return Subscription("custom", data_class=type(data))
