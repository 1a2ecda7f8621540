"""The data that a feature set names, as NautilusTrader knows them."""

from collections.abc import Iterable, Sequence
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
from nautilus_torchserve.trading.features.custom_events import CustomEvents
from nautilus_torchserve.trading.instruments.names import engine_id

Events = Trades | Bars | Quotes | CustomEvents
"""Data that features are computed from, of one kind and one instrument."""
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


def predicted(features: FeatureSet, instrument_ids: Sequence[InstrumentId]) -> list[InstrumentId]:
    """Return the instruments that predictions are about: those that `FeatureSet.data` does not name as others.

    The first of all, where it names each of them.

    Raises
    ------
    BadData
        There are no instruments.
    """
    if not instrument_ids:
        raise BadData("expected market data of at least 1 instrument, got none")
    named = {parse_subscription(text, _ANY).instrument_id for text in features.data}
    unnamed = [instrument_id for instrument_id in dict.fromkeys(instrument_ids) if instrument_id not in named]
    return unnamed or list(instrument_ids[:1])


def check_subscriptions(subscriptions: Sequence[Subscription], data: Sequence[Events], spec: str) -> None:
    """Refuse data that do not hold what features are computed from.

    Raises
    ------
    BadData
    """
    held = {subscription for item in data for subscription in given_by(item)}
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


def held_data(data: Trades | Bars | Quotes) -> Subscription:
    """Return what market data hold."""
    instrument_id = engine_id(data.instrument.symbol, data.instrument.venue)
    if isinstance(data, Bars):
        return Subscription("bars", instrument_id, external_bars(instrument_id, data.interval_ns))
    if isinstance(data, Trades):
        return Subscription("trades", instrument_id)
    return Subscription("depth" if isinstance(data, Depth) else "quotes", instrument_id)


def given_by(data: Events) -> tuple[Subscription, ...]:
    """Return the subscriptions on which data are received: depth has the quotes of its best level, too."""
    if isinstance(data, CustomEvents):
        return (Subscription("custom", data_class=data.data_class),)
    held = held_data(data)
    return (held, held._replace(kind="quotes")) if held.kind == "depth" else (held,)


def split_custom(data: Iterable[Events]) -> tuple[list[Trades | Bars | Quotes], list[CustomEvents]]:
    """Return market data, and those of classes of one's own; refuse several series of one class."""
    market: list[Trades | Bars | Quotes] = []
    custom: list[CustomEvents] = []
    for item in data:
        if isinstance(item, CustomEvents):
            custom.append(item)
        else:
            market.append(item)
    if len({events.data_class for events in custom}) < len(custom):
        names = ", ".join(events.data_class.__name__ for events in custom)
        raise BadData(f"expected custom data of different classes, got {names}")
    return market, custom


def custom_classes(features: FeatureSet) -> list[type[Data]]:
    """Return the classes of one's own that a feature set is given; raises as `parse_subscription`."""
    subscriptions = (parse_subscription(text, _ANY) for text in features.data)
    return [item.data_class for item in subscriptions if item.data_class is not None]


def source_kinds(features: FeatureSet) -> set[Kind]:
    """Return the kinds of data of a predicted instrument that a feature set needs; raises as `parse_subscription`."""
    subscriptions = (parse_subscription(text, _ANY) for text in features.data)
    sources = [source_of(item) for item in subscriptions if item.instrument_id is not None]  # custom data have none
    return {source.kind for source in sources if source.instrument_id == _ANY}


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
