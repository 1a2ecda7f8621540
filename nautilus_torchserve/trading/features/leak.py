"""Proof that features of your own know neither the future nor, beyond their warm-up, where the data begin.

Rows are computed again and compared bit for bit: without the future at several times, from several later beginnings, a
second time beside another object, by the vectorised form, and in a process whose hashes, time zone and clock differ.
What the class reads outside of its data, a file or the network, is recorded and refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from nautilus_trader.model.data import Bar
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from nautilus_torchserve.features.leak import Leak, first_difference
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import BadData, Instrument
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
from nautilus_torchserve.trading.features.instrument_features import FeaturesFailed, load_schema
from nautilus_torchserve.trading.features.internal_bars import InternalBars
from nautilus_torchserve.trading.features.other_process import CHANGES, run_elsewhere
from nautilus_torchserve.trading.features.outside_reads import recorded_reads
from nautilus_torchserve.trading.features.stream import merge
from nautilus_torchserve.trading.features.subscription import (
    Events,
    Subscription,
    given_by,
    parse_subscription,
    predicted,
    source_of,
)
from nautilus_torchserve.trading.instruments.options import InstrumentOptions

CUTS = 6
"""Times at which the data are cut, spread evenly over the rows, and as many later beginnings."""
NEGLIGIBLE = 1e-4
"""Largest dependence on the beginning that is no leak, in standard deviations of the column: what rounding, and an
exponential average that has all but forgotten, leave."""
FUTURE = "the future changes what was before it"
START = "beyond the declared warm-up, values depend on where the data begin"
VECTORISED = "the vectorised form differs from the streaming one"
REPEAT = "the same data give other values a second time: they depend on a state that is shared, on time, or on chance"
OUTSIDE = "features may depend on the data that they are given alone, which is what they have live, got a read of"
DAY_NS = 86_400 * 10**9
_Computed = tuple[FeatureRows, NDArray[np.float32] | None]
"""Rows of the streaming form, and of the vectorised one where there is one."""


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
    data: Sequence[Events],
    instrument: str | None = None,
    options: InstrumentOptions = NO_OPTIONS,
    other_process: bool = True,
) -> LeakReport:
    """Check a spec's features on some data.

    Parameters
    ----------
    spec : ModelSpec or str
        The spec, or what `models.table.spec_of` finds it by.
    data : sequence of Trades, Bars, Quotes or CustomEvents
        Of one or several instruments.
    instrument : str, optional
        The predicted instrument; default: that of the first data, and others that the data suffice for.
    other_process : bool
        Whether to compare with another process, too, whose start takes some seconds.

    Raises
    ------
    BadSetting
        The model has an actor of its own, or no streaming class.
    BadData
        The data do not hold what features are computed from, or give too few rows.
    FeaturesFailed
        The features cannot be computed.
    """
    with recorded_reads() as reads:
        spec = spec if isinstance(spec, ModelSpec) else spec_of(spec)
        features, market = spec.features, load_market_data(data, options)
        if spec.trading.actor != Trading().actor:
            raise BadSetting(
                f"{spec.name}: expected features that `FeatureActor` computes, got those of {spec.trading.actor}"
            )
        ids = _predicted(features, market) if instrument is None else [InstrumentId.from_str(instrument)]
        checks = [_Check(spec.name, features, market, instrument_id) for instrument_id in ids]
        leaks = [leak for check in checks for leak in check.leaks()]
    paths = list(reads)
    if other_process and not leaks:
        leaks, paths = _elsewhere(checks, paths)
    if paths:
        leaks.append(Leak("outside", f"{OUTSIDE} {', '.join(paths)}", None, None, "", None, None))
    notes = [note for check in checks for note in check.notes]
    days = np.unique(np.concatenate([stream.ts_init for stream in market.streams()]) // DAY_NS)
    if len(days) == 1:
        notes.append("the data hold no midnight (UTC), where features that begin anew each day change")
    rows, comparisons = (
        sum(counts) for counts in zip(*((len(c.full.rows), c.comparisons) for c in checks), strict=True)
    )
    return LeakReport(rows, comparisons, tuple(leaks), tuple(dict.fromkeys(notes)))


def _predicted(features: FeatureSet, market: MarketData) -> list[InstrumentId]:
    """Return the instruments that predictions are about: the first, and others that the data suffice for."""
    first, *others = predicted(features, [instrument.id for instrument in market.instruments])
    held = {subscription for series in (*market.series, *market.custom) for subscription in given_by(series)}
    needed = {other: {source_of(parse_subscription(text, other)) for text in features.data} for other in others}
    return [first, *(other for other, sources in needed.items() if sources <= held)]


def _elsewhere(checks: Sequence["_Check"], paths: list[str]) -> tuple[list[Leak], list[str]]:
    """Return the differences of another process, each with what it depends on, and all reads."""
    leaks: list[Leak] = []
    for check in checks:
        arguments = check.features, check.market, check.instrument_id, check.name
        computed, read = run_elsewhere(CHANGES, _computed, *arguments)
        paths = list(dict.fromkeys([*paths, *read]))
        difference = check.difference((check.full, check.vectorised), computed)
        if difference is None:
            continue
        unchanged, _ = run_elsewhere((), _computed, *arguments)
        causes = [
            change
            for change in CHANGES
            if check.difference(unchanged, run_elsewhere([change], _computed, *arguments)[0]) is not None
        ]
        reason = f"{check.prefix}another process gives other values: they depend on "
        leaks.append(replace(difference, reason=reason + (" and ".join(causes) or "the process")))
    return leaks, paths


def _computed(features: FeatureSet, market: MarketData, instrument_id: InstrumentId, name: str) -> _Computed:
    """Return rows of the streaming and of the vectorised form, where there is one."""
    rows = feature_rows(features, market, instrument_id, name)
    return rows, None if features.vectorised is None else _vectorised(features, market, instrument_id)


class _Check:
    """One feature set about one instrument of a market."""

    def __init__(self, name: str, features: FeatureSet, market: MarketData, instrument_id: InstrumentId) -> None:
        self.name, self.features, self.market, self.instrument_id = name, features, market, instrument_id
        self.prefix = "" if instrument_id == market.instruments[0].id else f"{instrument_id}: "
        """What sentences begin with."""
        self.comparisons = 0
        self.notes: list[str] = []
        self._columns = [column.name for column in load_schema(features).columns]
        self._times = np.sort(np.concatenate([stream.ts_init for stream in market.streams()]))
        self.full, self.vectorised = _computed(features, market, instrument_id, name)
        least = features.warm_up + 2
        if len(self.full.rows) < least:
            source = market.series[0].source
            raise BadData(f"{source}: expected at least {least} rows of features to compare, got {len(self.full.rows)}")

    def leaks(self) -> list[Leak]:
        """Return the first difference of each check that finds one; of no other where the same data differ."""
        repeat = next(self._repeated(), None)
        if repeat is not None:
            return [repeat]
        checks = [self._without_future(), self._later_starts()]
        if self.vectorised is not None:
            checks.append(self._vectorised_equal(self.vectorised))
        return [leak for leak in (next(check, None) for check in checks) if leak is not None]

    def difference(self, expected: _Computed, got: _Computed) -> Leak | None:
        """Return the first difference between what two processes computed."""
        times = expected[0].ts_event
        leaks = self._compare("process", "", expected[0].rows, got[0].rows, times)
        if expected[1] is not None and got[1] is not None:
            leaks = chain(leaks, self._compare("process", "", expected[1], got[1], times))
        return next(leaks, None)

    def _streaming(self, market: MarketData, given_from_ns: int = 0, second: bool = False) -> FeatureRows:
        return feature_rows(self.features, market, self.instrument_id, self.name, given_from_ns, second)

    def _cuts(self) -> list[int]:
        """Return times within the data, Unix ns."""
        return [int(self._times[len(self._times) * part // (CUTS + 1)]) for part in range(1, CUTS + 1)]

    def _until(self, last_ns: int) -> MarketData:
        return self.market.between(int(self._times[0]), last_ns)

    def _since(self, first_ns: int) -> FeatureRows:
        """Return rows of data that begin later; where bars count events, of the same bars, given from then on."""
        if any(_counts_events(parse_subscription(text, self.instrument_id)) for text in self.features.data):
            return self._streaming(self.market, given_from_ns=first_ns)
        return self._streaming(self.market.between(first_ns, int(self._times[-1])))

    def _compare(
        self,
        check: str,
        reason: str,
        expected: NDArray[np.float32],
        got: NDArray[np.float32],
        ts_ns: NDArray[np.int64],
        first: int = 0,
    ) -> Iterator[Leak]:
        """Yield the first difference; ``first`` is the number of the first row compared."""
        self.comparisons += 1
        difference = first_difference(expected, got, self._columns)
        if difference is not None:
            row, column, value, other = difference
            time = None if row >= len(ts_ns) else int(ts_ns[row])
            yield Leak(check, self.prefix + reason, first + row, time, column, value, other)

    def _repeated(self) -> Iterator[Leak]:
        again = self._streaming(self.market, second=True)
        yield from self._compare("repeat", REPEAT, self.full.rows, again.rows, self.full.ts_event)

    def _without_future(self) -> Iterator[Leak]:
        full = self.full
        for last_ns in self._cuts():
            known = full.event < self._number_until(last_ns)  # bars that close by the next datum have its number
            until = self._streaming(self._until(last_ns))
            reason = f"{FUTURE}, {np.datetime64(last_ns, 'ns')} UTC"
            yield from self._compare("future", reason, full.rows[known], until.rows, full.ts_event[known])

    def _number_until(self, last_ns: int) -> int:
        return int(np.searchsorted(self._times, last_ns, side="right"))

    def _later_starts(self) -> Iterator[Leak]:
        """Compare what comes after the warm-up, of all beginnings: the least warm-up that would do is the remedy."""
        full, warm_up = self.full, self.features.warm_up
        starts = {first_ns: self._since(first_ns) for first_ns in self._cuts()}
        starts = {first_ns: since for first_ns, since in starts.items() if len(since.rows) > warm_up}
        if not starts:
            self.notes.append(f"too few rows to begin later and still have more than the warm-up of {warm_up}")
            return
        remedy, negligible = self._remedy(list(starts.values())), 0.0
        for first_ns, since in starts.items():
            reason = f"{START} ({warm_up} rows, data from {np.datetime64(first_ns, 'ns')} UTC"
            times = since.ts_event[warm_up:]
            first = len(full.rows) - len(times)
            if first < 0 or not np.array_equal(full.ts_event[first:], times):
                expected = full.ts_event[-len(times) :]
                other = int(np.argmin(expected == times[-len(expected) :]))
                reason = f"{self.prefix}{reason}), rows come at other times"
                yield Leak("start", reason, max(first, 0) + other, int(expected[other]), "", None, None)
                return
            rows, others = full.rows[first:], since.rows[warm_up:]
            largest = float(self._deviations(rows, others).max())
            if largest > NEGLIGIBLE:
                yield from self._compare("start", f"{reason}; {remedy})", rows, others, full.ts_event[first:], first)
            self.comparisons += 1
            negligible = max(negligible, largest)
        if negligible:
            self.notes.append(
                f"values depend on where the data begin beyond the warm-up of {warm_up} rows by {negligible:.1g} of a "
                f"column's standard deviation at most, which is let pass up to {NEGLIGIBLE:g}"
            )

    def _deviations(self, rows: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return each row's largest difference in standard deviations of its column [n]."""
        scale = self.full.rows.std(axis=0, dtype=np.float64)
        difference = np.abs(rows.astype(np.float64) - others)
        scaled = np.divide(difference, scale, out=np.where(difference > 0, np.inf, 0.0), where=scale > 0)
        return scaled.max(axis=1, initial=0.0)

    def _remedy(self, starts: Sequence[FeatureRows]) -> str:
        """Return which warm-up would do for all beginnings, of which the first leaves most rows."""
        least = 0
        for since in starts:
            shared = min(len(since.rows), len(self.full.rows))
            differs = np.flatnonzero(self._deviations(self.full.rows[-shared:], since.rows[-shared:]) > NEGLIGIBLE)
            needed = int(differs[-1]) + 1 + len(since.rows) - shared if len(differs) else 0
            if since is starts[0] and needed > 0.9 * len(since.rows):
                return f"no warm_up of up to {needed} would do, as of what depends on all that came before"
            least = max(least, needed)
        return f"a warm_up of {least} would do"

    def _vectorised_equal(self, rows: NDArray[np.float32]) -> Iterator[Leak]:
        """Compare the vectorised form without the future with itself, which gives the reason, then with the other."""
        full = self.full
        for last_ns in self._cuts():
            yield from self._vectorised_until(rows, last_ns)
        for leak in self._compare("vectorised", VECTORISED, full.rows, rows, full.ts_event):
            if leak.row is not None and leak.row < len(full.rows):
                yield from self._vectorised_until(rows, int(full.ts_init[leak.row]))
            yield leak

    def _vectorised_until(self, rows: NDArray[np.float32], last_ns: int) -> Iterator[Leak]:
        """Compare the vectorised form with itself without the future."""
        known = self.full.event < self._number_until(last_ns)
        before, times = rows[: known.sum()], self.full.ts_event[known]
        until = _vectorised(self.features, self._until(last_ns), self.instrument_id)
        differs = np.flatnonzero((before[: len(until)] != until[: len(before)]).any(axis=1))
        cause = "other rows are left out or added"
        if len(differs):
            ahead = len(before) - int(differs[0])
            cause = f"it looks ahead of the last {ahead} rows, as a shift or a centred window does"
            if differs[0] < len(before) // 2:
                cause = "something is computed over all data, as a mean, a rank, a fit or a backward fill is"
        reason = f"{FUTURE} in the vectorised form, {np.datetime64(last_ns, 'ns')} UTC; {cause}"
        yield from self._compare("future", reason, before, until, times)


def _vectorised(features: FeatureSet, market: MarketData, instrument_id: InstrumentId) -> NDArray[np.float32]:
    """Return the rows of the vectorised form, given entry of `FeatureSet.data` -> its arrays."""
    path, columns = features.vectorised, len(load_schema(features).columns)
    assert path is not None
    function: Callable[[Mapping[str, Events]], Any] = load_object(path)
    arrays = vectorised_arguments(features, market, instrument_id)
    try:
        rows = np.asarray(function(arrays), dtype=np.float32)
    except Exception as error:
        raise FeaturesFailed(f"{path} failed: {type(error).__name__}: {error}") from error
    if rows.ndim != 2 or rows.shape[1] != columns:
        raise FeaturesFailed(f"{path}: expected rows [n, {columns}], got {list(rows.shape)}")
    return np.ascontiguousarray(rows)


def _counts_events(subscription: Subscription) -> bool:
    bar_type = subscription.bar_type
    return bar_type is not None and subscription.is_internal and not bar_type.spec.is_time_aggregated()


def vectorised_arguments(features: FeatureSet, market: MarketData, instrument_id: InstrumentId) -> dict[str, Events]:
    """Return entry of `FeatureSet.data` -> its arrays, as a vectorised form takes them.

    Raises
    ------
    BadSetting
        There are no arrays of such data.
    """
    arguments: dict[str, Events] = {}
    for text in features.data:
        subscription = parse_subscription(text, instrument_id)
        source = source_of(subscription)
        series = next((data for data in (*market.series, *market.custom) if source in given_by(data)), None)
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
