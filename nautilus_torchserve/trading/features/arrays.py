"""Features of your own over files: what an actor would compute from the same data, as arrays for training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar, QuoteTick, TradeTick
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from numpy.typing import NDArray

from nautilus_torchserve.features.streaming import InputWindows
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.trading.bars.actor import exact
from nautilus_torchserve.trading.features.custom_events import CustomEvents
from nautilus_torchserve.trading.features.instrument_features import InstrumentFeatures, load_schema
from nautilus_torchserve.trading.features.internal_bars import InternalBars
from nautilus_torchserve.trading.features.stream import Stream, merge, series_streams
from nautilus_torchserve.trading.features.subscription import (
    Events,
    check_subscriptions,
    predicted,
    split_custom,
    subscription_of,
)
from nautilus_torchserve.trading.instruments.conform import conform
from nautilus_torchserve.trading.instruments.options import InstrumentOptions
from nautilus_torchserve.trading.instruments.resolve import resolve_all

NO_OPTIONS = InstrumentOptions()


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """Rows about one instrument, in the order in which they were computed."""

    rows: NDArray[np.float32]
    """[n, columns]."""
    ts_event: NDArray[np.int64]
    """When the datum that each row came with happened, Unix ns [n]."""
    ts_init: NDArray[np.int64]
    """When it was received, Unix ns [n]."""
    event: NDArray[np.int64]
    """Number of market data before it [n]; bars that NautilusTrader aggregates do not count."""
    price: NDArray[np.float64]
    """The instrument's last price by then [n]: of a trade, a bar's close, or of quotes alone their middle; NaN before
    the first."""


@dataclass(frozen=True, eq=False)
class FeatureArrays:
    """Inputs of a model about one instrument, with what labels are made of."""

    inputs: NDArray[np.float32]
    """[n, columns], or [n, time_steps, columns], a read-only view where windows overlap."""
    ts_event: NDArray[np.int64]
    """When the newest datum of each input happened, Unix ns [n]."""
    ts_init: NDArray[np.int64]
    """When it was received, Unix ns [n]."""
    price: NDArray[np.float64]
    """The instrument's last price by then, in quote currency [n]: of a trade, a bar's close, or of quotes
    alone their middle."""

    def __len__(self) -> int:
        return len(self.ts_event)


@dataclass(frozen=True, eq=False)
class MarketData:
    """Market data of some instruments, in the engine's names and decimals."""

    series: tuple[Trades | Bars | Quotes, ...]
    """The data, each of one instrument."""
    instruments: tuple[Instrument, ...]
    """Instrument of each of them."""
    custom: tuple[CustomEvents, ...] = ()
    """Data of classes of one's own, up to the last of the others."""

    def streams(self) -> list[Stream]:
        """Return the streams of all data."""
        custom = [Stream(events.ts_init, events.objects) for events in self.custom]
        return [*series_streams(self.series, self.instruments), *custom]

    def between(self, first_ns: int, last_ns: int) -> "MarketData":
        """Return what was received in a time, both ends included (Unix ns)."""
        series = (_within(data, first_ns, last_ns) for data in self.series)
        custom = (_within(data, first_ns, last_ns) for data in self.custom)
        return MarketData(tuple(series), self.instruments, tuple(custom))


def received(data: Events) -> NDArray[np.int64]:
    """Return when each event was received, Unix ns [n]."""
    return data.ts_event if isinstance(data, Bars) else data.ts_init


def _within(data: Any, first_ns: int, last_ns: int) -> Any:
    times = received(data)
    start, stop = np.searchsorted(times, first_ns), np.searchsorted(times, last_ns, side="right")
    return data.between(int(start), int(stop))


def load_market_data(data: Sequence[Events], options: InstrumentOptions = NO_OPTIONS) -> MarketData:
    """Return market data as their instruments have them, as a backtest does.

    Raises
    ------
    BadData, BadSetting
        It is not known what was traded, or the data do not fit it.
    """
    market, custom = split_custom(data)
    instruments = [definition.instrument for definition in resolve_all(market, options)]
    series: list[Any] = [conform(item, instrument) for item, instrument in zip(market, instruments, strict=True)]  # type: ignore[type-var]
    if not series:
        return MarketData((), ())
    last_ns = max(int(received(item)[-1]) for item in series)
    return MarketData(tuple(series), tuple(instruments), tuple(_within(events, 0, last_ns) for events in custom))


def feature_rows(
    features: FeatureSet,
    market: MarketData,
    instrument_id: InstrumentId,
    name: str,
    given_from_ns: int = 0,
    second: bool = False,
    until_ns: int | None = None,
) -> FeatureRows:
    """Return all rows about one instrument, those of the warm-up too.

    Parameters
    ----------
    name : str
        What messages call the feature set.
    given_from_ns : int
        The streaming class is not given what is received before this (Unix ns).
    second : bool
        Whether a second object is given the same data, each one later, as that of another instrument would be.
    until_ns : int, optional
        As `trading.features.stream.merge` takes it.

    Raises
    ------
    BadData
        The data do not hold what features are computed from.
    FeaturesFailed
        The streaming class raised an exception, or returned what is no row.
    BadSetting, InvalidArgument
        The feature set names what does not exist.
    """
    about = InstrumentFeatures(features, instrument_id)
    about.windows = InputWindows(replace(load_schema(features), time_steps=None), 0)
    other, previous = InstrumentFeatures(features, instrument_id) if second else None, None
    check_subscriptions(about.subscriptions, (*market.series, *market.custom), name)
    wanted = frozenset(about.subscriptions)
    bar_types = [item.bar_type for item in about.subscriptions if item.bar_type and item.is_internal]
    rows, places, prices = [], [], []
    event, price = 0, float("nan")
    of_quotes = all(isinstance(data, Quotes) for data in market.series)
    for chunk in merge(market.streams(), InternalBars(bar_types, market.instruments), until_ns):
        for data in chunk:
            is_internal = isinstance(data, Bar) and data.bar_type.is_internally_aggregated()
            if not is_internal:
                price = _price(data, instrument_id, of_quotes, price)
            subscription = subscription_of(data)
            is_given = subscription in wanted and data.ts_init >= given_from_ns
            row = about.update(data) if is_given else None
            if is_given and other is not None:
                if previous is not None:
                    other.row(previous)
                previous = data
            if row is not None:
                rows.append(row)
                places.append((data.ts_event, data.ts_init, event))
                prices.append(price)
            event += not is_internal
    columns = len(about.windows.names)
    ts_event, ts_init, events = np.array(places, dtype=np.int64).reshape(-1, 3).T.copy()
    return FeatureRows(
        np.array(rows, dtype=np.float32).reshape(-1, columns),
        ts_event,
        ts_init,
        events,
        np.array(prices, dtype=np.float64),
    )


def feature_arrays(
    spec: ModelSpec | str,
    data: Trades | Bars | Quotes | Sequence[Events],
    instrument: str | None = None,
    options: InstrumentOptions = NO_OPTIONS,
) -> FeatureArrays:
    """Run a spec's streaming class over market data, and return a model's inputs and the prices at their times.

    They are those that an actor would request predictions for: windows are stacked, and the warm-up is left out. A
    label may use prices after an input, an input never does: ``np.log(price[horizon:] / price[:-horizon])`` belongs to
    ``inputs[:-horizon]``.

    Parameters
    ----------
    spec : ModelSpec or str
        The spec, or what `models.table.spec_of` finds it by.
    data : Trades, Bars or Quotes, or a sequence of them
        Of one or several instruments, such as `market.trades.load.load`, `market.bars.load.load_bars` and
        `market.quotes.load.load_quotes` return; in a sequence also `trading.features.custom_events.CustomEvents`.
    instrument : str, optional
        The predicted instrument, ``BTCUSDT.BINANCE``; default: that of the first data that the spec does not name.
    options : InstrumentOptions, optional
        Definitions of the instruments, in addition to their data.

    Raises
    ------
    BadData
        The data do not hold what features are computed from, or are too few for one input.
    FeaturesFailed
        The streaming class raised an exception, or returned what is no row.
    BadSetting, InvalidArgument
        The spec names what does not exist.
    """
    spec = spec if isinstance(spec, ModelSpec) else spec_of(spec)
    market = load_market_data([data] if isinstance(data, Trades | Bars | Quotes) else data, options)
    ids = [item.id for item in market.instruments]
    instrument_id = predicted(spec.features, ids)[0] if instrument is None else InstrumentId.from_str(instrument)
    return market_arrays(spec, market, instrument_id)


def market_arrays(
    spec: ModelSpec, market: MarketData, instrument_id: InstrumentId, until_ns: int | None = None
) -> FeatureArrays:
    """Return what `feature_arrays` does, of market data in the engine's names and decimals.

    Parameters
    ----------
    until_ns : int, optional
        As `trading.features.stream.merge` takes it.
    """
    features = spec.features
    computed = feature_rows(features, market, instrument_id, spec.name, until_ns=until_ns)
    steps = load_schema(features).time_steps
    rows, first = computed.rows[features.warm_up :], features.warm_up + (steps or 1) - 1
    if len(computed.rows) <= first:
        source = market.series[0].source
        raise BadData(f"{source}: expected more than {first} rows of features, got {len(computed.rows)}")
    inputs = rows if steps is None else np.lib.stride_tricks.sliding_window_view(rows, steps, axis=0).transpose(0, 2, 1)
    return FeatureArrays(inputs, computed.ts_event[first:], computed.ts_init[first:], computed.price[first:])


def _price(data: Data, instrument_id: InstrumentId, of_quotes: bool, before: float) -> float:
    if isinstance(data, TradeTick) and data.instrument_id == instrument_id:
        return exact(data.price)
    if isinstance(data, QuoteTick) and data.instrument_id == instrument_id and of_quotes:
        return (exact(data.bid_price) + exact(data.ask_price)) / 2
    if isinstance(data, Bar) and data.bar_type.instrument_id == instrument_id:
        return exact(data.close)
    return before
