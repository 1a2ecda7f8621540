"""Proof that features of your own know neither the future nor, beyond their warm-up, where the data begin.

Rows are computed again on parts of the data, and compared bit for bit: without the future at several times, from
several later beginnings, a second time, and by the vectorised form. What a class reads by itself, a file or the
clock's time, is not part of the data: it is found where it makes two runs differ.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nautilus_trader.model.data import Bar
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from nautilus_torchserve.features.leak import Leak, first_difference
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.trades import BadData, Instrument, Trades
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Trading, load_object
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.features.arrays import (
    NO_OPTIONS,
    FeatureRows,
    MarketData,
    feature_rows,
    load_market_data,
)
from nautilus_torchserve.trading.features.custom_data import CustomSeries
from nautilus_torchserve.trading.features.instrument_features import FeaturesFailed, load_schema
from nautilus_torchserve.trading.features.internal_bars import InternalBars
from nautilus_torchserve.trading.features.stream import merge
from nautilus_torchserve.trading.features.subscription import Subscription, held_data, parse_subscription, source_of
from nautilus_torchserve.trading.instruments.options import InstrumentOptions

CUTS = 6
"""Times at which the data are cut, spread evenly over the rows, and as many later beginnings."""
FUTURE = "the future changes what was before it"
START = "beyond the declared warm-up, values depend on where the data begin"
VECTORISED = "the vectorised form differs from the streaming one"
REPEAT = "the same data give other values a second time: they depend on a state that is shared, on time, or on chance"


@dataclass(frozen=True)
class LeakReport:
    """The proof, or what contradicts it."""

    rows: int
    """Rows over all data."""
    comparisons: int
    """Runs that were compared with the one over all data."""
    leaks: tuple[Leak, ...]
    """The first difference of each check that found one."""
    notes: tuple[str, ...]
    """What could not be checked, a sentence each."""


def find_leaks(
    spec: ModelSpec | str,
    data: Sequence[Trades | Bars | Quotes | CustomSeries],
    instrument: str | None = None,
    options: InstrumentOptions = NO_OPTIONS,
) -> LeakReport:
    """Check a spec's features on some data.

    Parameters
    ----------
    spec : ModelSpec or str
        The spec, or what `models.table.spec_of` finds it by.
    data : sequence of Trades, Bars, Quotes or CustomSeries
        Of one or several instruments.
    instrument : str, optional
        The predicted instrument; default: that of the first data.

    Raises
    ------
    BadSetting
        The model has an actor of its own, or no streaming class.
    BadData
        The data do not hold what features are computed from, or give too few rows.
    FeaturesFailed
        The features cannot be computed.
    """
    spec = spec if isinstance(spec, ModelSpec) else spec_of(spec)
    features, market = spec.features, load_market_data(data, options)
    instrument_id = market.instruments[0].id if instrument is None else InstrumentId.from_str(instrument)
    if spec.trading.actor != Trading().actor:
        raise BadSetting(
            f"{spec.name}: expected features that `FeatureActor` computes, got those of {spec.trading.actor}"
        )
    return _Check(spec.name, features, market, instrument_id).report()


class _Check:
    """One feature set on one market."""

    def __init__(self, name: str, features: FeatureSet, market: MarketData, instrument_id: InstrumentId) -> None:
        self._name, self._features, self._market, self._instrument_id = name, features, market, instrument_id
        self._columns = [column.name for column in load_schema(features).columns]
        self._times = np.sort(np.concatenate([stream.ts_init for stream in market.streams()]))
        self._comparisons = 0
        self._notes: list[str] = []

    def report(self) -> LeakReport:
        full = self._streaming(self._market)
        least = self._features.warm_up + 2
        if len(full.rows) < least:
            source = self._market.series[0].source
            raise BadData(f"{source}: expected at least {least} rows of features to compare, got {len(full.rows)}")
        checks = [self._repeated, self._without_future, self._later_starts]
        if self._features.vectorised is not None:
            checks.append(self._vectorised_equal)
        found = [next(check(full), None) for check in checks]
        leaks = tuple(leak for leak in found if leak is not None)
        return LeakReport(len(full.rows), self._comparisons, leaks, tuple(self._notes))

    def _streaming(self, market: MarketData) -> FeatureRows:
        return feature_rows(self._features, market, self._instrument_id, self._name)

    def _cuts(self) -> list[int]:
        """Return times within the data, Unix ns."""
        return [int(self._times[len(self._times) * part // (CUTS + 1)]) for part in range(1, CUTS + 1)]

    def _until(self, last_ns: int) -> MarketData:
        return self._market.between(int(self._times[0]), last_ns)

    def _since(self, first_ns: int) -> MarketData:
        return self._market.between(first_ns, int(self._times[-1]))

    def _compare(
        self,
        check: str,
        reason: str,
        expected: NDArray[np.float32],
        got: NDArray[np.float32],
        ts_ns: NDArray[np.int64] | None,
        first: int = 0,
    ) -> Iterator[Leak]:
        """Yield the first difference; ``first`` is the number of the first row compared."""
        self._comparisons += 1
        difference = first_difference(expected, got, self._columns)
        if difference is not None:
            row, column, value, other = difference
            time = None if ts_ns is None or row >= len(ts_ns) else int(ts_ns[row])
            yield Leak(check, reason, first + row, time, column, value, other)

    def _repeated(self, full: FeatureRows) -> Iterator[Leak]:
        again = self._streaming(self._market)
        yield from self._compare("repeat", REPEAT, full.rows, again.rows, full.ts_event)

    def _without_future(self, full: FeatureRows) -> Iterator[Leak]:
        for last_ns in self._cuts():
            seen = int(np.searchsorted(self._times, last_ns, side="right"))
            known = full.event < seen  # bars that close by the next datum have its number
            until = self._streaming(self._until(last_ns))
            reason = f"{FUTURE}, {np.datetime64(last_ns, 'ns')} UTC"
            yield from self._compare("future", reason, full.rows[known], until.rows, full.ts_event[known])

    def _later_starts(self, full: FeatureRows) -> Iterator[Leak]:
        warm_up, done = self._features.warm_up, 0
        if any(_counts_events(parse_subscription(text, self._instrument_id)) for text in self._features.data):
            self._notes.append(
                "bars of a number of trades, a volume or a value end elsewhere where the data begin later"
            )
            return
        for first_ns in self._cuts():
            since = self._streaming(self._since(first_ns))
            count = len(since.rows) - warm_up
            if count < 1:
                continue
            done += 1
            reason = f"{START} ({warm_up} rows, data from {np.datetime64(first_ns, 'ns')} UTC)"
            first = len(full.rows) - count
            ts_event = full.ts_event[first:]
            if not np.array_equal(ts_event, since.ts_event[warm_up:]):
                row = int(np.argmin(ts_event == since.ts_event[warm_up:]))
                yield Leak(
                    "start", f"{reason}, rows come at other times", first + row, int(ts_event[row]), "", None, None
                )
                return
            yield from self._compare("start", reason, full.rows[first:], since.rows[warm_up:], ts_event, first)
        if not done:
            self._notes.append(f"too few rows to begin later and still have more than the warm-up of {warm_up}")

    def _vectorised_equal(self, full: FeatureRows) -> Iterator[Leak]:
        """Compare the vectorised form without the future with itself, which gives the reason, then with the other."""
        rows = self._vectorised(self._market)
        for last_ns in self._cuts():
            known = full.event < int(np.searchsorted(self._times, last_ns, side="right"))
            reason = f"{FUTURE} in the vectorised form, {np.datetime64(last_ns, 'ns')} UTC"
            until = self._vectorised(self._until(last_ns))
            yield from self._compare("future", reason, rows[: known.sum()], until, full.ts_event[known])
        yield from self._compare("vectorised", VECTORISED, full.rows, rows, full.ts_event)

    def _vectorised(self, market: MarketData) -> NDArray[np.float32]:
        """Return the rows of the vectorised form, given entry of `FeatureSet.data` -> its arrays."""
        path = self._features.vectorised
        assert path is not None
        function: Callable[[Mapping[str, Trades | Bars | Quotes | CustomSeries]], Any] = load_object(path)
        arrays = vectorised_arguments(self._features, market, self._instrument_id)
        try:
            rows = np.asarray(function(arrays), dtype=np.float32)
        except Exception as error:
            raise FeaturesFailed(f"{path} failed: {type(error).__name__}: {error}") from error
        if rows.ndim != 2 or rows.shape[1] != len(self._columns):
            raise FeaturesFailed(f"{path}: expected rows [n, {len(self._columns)}], got {list(rows.shape)}")
        return np.ascontiguousarray(rows)


def _counts_events(subscription: Subscription) -> bool:
    bar_type = subscription.bar_type
    return bar_type is not None and subscription.is_internal and not bar_type.spec.is_time_aggregated()


def vectorised_arguments(
    features: FeatureSet, market: MarketData, instrument_id: InstrumentId
) -> dict[str, Trades | Bars | Quotes | CustomSeries]:
    """Return entry of `FeatureSet.data` -> its arrays, or its custom data, as a vectorised form takes them.

    Raises
    ------
    BadSetting
        There are no arrays of such data.
    """
    arguments: dict[str, Trades | Bars | Quotes | CustomSeries] = {}
    for text in features.data:
        subscription = parse_subscription(text, instrument_id)
        source = source_of(subscription)
        series = next((data for data in (*market.series, *market.custom) if source in held_data(data)), None)
        if series is None:
            raise BadSetting(f"expected a vectorised form of trades, bars and quotes that are there, got one of {text}")
        arguments[text] = _closed_bars(subscription, market, series.source) if subscription.is_internal else series
    return arguments


def _closed_bars(subscription: Subscription, market: MarketData, source: str) -> Bars:
    """Return bars that NautilusTrader aggregates, as arrays."""
    bar_type = subscription.bar_type
    assert bar_type is not None
    closed = [
        data
        for chunk in merge(market.streams(), InternalBars([bar_type], market.instruments))
        for data in chunk
        if isinstance(data, Bar) and data.bar_type == bar_type
    ]
    instrument = next(item for item in market.instruments if item.id == bar_type.instrument_id)
    price_precision, size_precision = instrument.price_precision, instrument.size_precision
    named = Instrument(
        bar_type.instrument_id.symbol.value, bar_type.instrument_id.venue.value, price_precision, size_precision
    )
    columns: dict[str, Any] = {
        name: np.array([int(getattr(bar, name).as_decimal().scaleb(precision)) for bar in closed], dtype=np.int64)
        for name, precision in (
            *((price, price_precision) for price in ("open", "high", "low", "close")),
            ("volume", size_precision),
        )
    }
    return Bars(
        instrument=named,
        source=source,
        simulated=False,
        interval_ns=int(bar_type.spec.get_interval_ns()) if bar_type.spec.is_time_aggregated() else 0,
        ts_event=np.array([bar.ts_event for bar in closed], dtype=np.int64),
        **columns,
    )
