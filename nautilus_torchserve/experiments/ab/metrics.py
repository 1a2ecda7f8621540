"""Metrics of each version of an experiment: classification, trades, latency and errors, from the store's records.

Predictions depend on each other: those of one hour share the hour's market, those of one instrument share the
instrument. The variance of a mean is therefore taken from whole clusters (Liang & Zeger 1986): with S_g the sum and
n_g the count of cluster g, n observations of mean m and G clusters,

    n * Var(mean) = G / (G - 1) * sum_g (S_g - n_g m)^2 / n

with blocks of time as clusters, with instruments where these were assigned as a whole, and with every observation by
itself; the largest of the three counts.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nautilus_torchserve.experiments.ab.sequential_tests import Arm
from nautilus_torchserve.scores.classification import accuracy, class_scores
from nautilus_torchserve.traffic.records import CallWindow, ClosedTrade, ScoredPrediction, percentile_ms

_ROUNDING = 1e-12
"""Share of a sum of squares that rounding may leave of equal observations."""
CALLS = ("latency_ms", "error_rate")
"""Metrics of requests."""
METRICS = ("accuracy", "markout_bps", "win_rate", "return_bps", *CALLS)
"""Metrics that are means of observations, and therefore have intervals."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class."""

    precision: float
    """Share of the predictions of the class that were right; 0 where there were none."""
    recall: float
    """Share of the outcomes of the class that were predicted; 0 where there were none."""
    f1: float
    """Harmonic mean of both; 0 where both are 0."""
    support: int
    """Outcomes of the class."""


@dataclass(frozen=True)
class Classification:
    """Scores of `ScoredPrediction`, as scikit-learn defines them with ``zero_division=0``."""

    predictions: int
    accuracy: float
    """Share of the predictions that came true; nan without any."""
    precision: float
    """Unweighted mean over the classes that were predicted or came true (macro)."""
    recall: float
    """Likewise."""
    f1: float
    """Likewise."""
    classes: Mapping[str, ClassScores]


@dataclass(frozen=True)
class VersionMetrics:
    """Metrics of one version of an experiment. A metric without observations is nan."""

    version: str
    instruments: tuple[str, ...]
    """Instruments with scored predictions."""
    classification: Classification
    markouts: int
    """Predictions of a direction."""
    markout_bps: float
    """Mean move of the mid price over the horizon in the direction predicted, bps."""
    trades: int
    win_rate: float
    """Share of the trades with a profit after fees."""
    return_bps: float
    """Mean return of a trade after fees, bps."""
    sharpe_per_trade: float
    """Mean over standard deviation of the trades' returns. Not annualised: the number of independent trades in a year
    is not known."""
    total_pnl: float
    """Sum over the trades, each in its instrument's quote currency; comparable only where these are the same."""
    requests: int
    error_rate: float
    """Share of the requests that got an error or no response in time."""
    latency_ms: float
    """Mean over the answered requests, as the clients measured it, milliseconds."""
    latency_p95_ms: float
    """Upper edge of the 5 % bucket of the 95th percentile, milliseconds."""


class VersionSums:
    """Sums of the records of one version as they come; `metrics` at any time.

    Parameters
    ----------
    version : str
    block_ns, call_block_ns : int
        Length of a block of time of the predictions and trades, and of the calls, nanoseconds.
    """

    def __init__(self, version: str, block_ns: int, call_block_ns: int) -> None:
        self.version = version
        self.of = {metric: ClusterSums() for metric in METRICS}
        """Metric -> its observations."""
        self._block_ns, self._call_block_ns = block_ns, call_block_ns
        self._confusion: Counter[tuple[str, str]] = Counter()  # (predicted, actual)
        self._latencies: Counter[int] = Counter()
        self._pnl = 0.0

    def add(self, record: ScoredPrediction | ClosedTrade | CallWindow) -> None:
        """Add one record of this version."""
        match record:
            case ScoredPrediction():
                self._add_prediction(record)
            case ClosedTrade():
                self._add_trade(record)
            case CallWindow():
                self._add_calls(record)

    def _add_prediction(self, record: ScoredPrediction) -> None:
        block = record.ts_ns // self._block_ns
        self._confusion[record.predicted, record.actual] += 1
        self.of["accuracy"].observe(float(record.predicted == record.actual), block, record.instrument_id)
        if record.markout_bps is not None:
            self.of["markout_bps"].observe(record.markout_bps, block, record.instrument_id)

    def _add_trade(self, record: ClosedTrade) -> None:
        block = record.opened_ns // self._block_ns
        self.of["win_rate"].observe(float(record.pnl > 0), block, record.instrument_id)
        self.of["return_bps"].observe(record.return_bps, block, record.instrument_id)
        self._pnl += record.pnl

    def _add_calls(self, record: CallWindow) -> None:
        block = record.since_ns // self._call_block_ns
        self.of["error_rate"].add(record.requests, record.errors, record.errors, block)
        answered = record.requests - record.errors
        self.of["latency_ms"].add(answered, record.latency_ms_sum, record.latency_ms_squares, block)
        self._latencies.update(record.latencies)

    def metrics(self) -> VersionMetrics:
        """Return the metrics of the records so far."""
        arms = {metric: sums.arm(by_instrument=False) for metric, sums in self.of.items()}
        means = {metric: float(arm.mean) for metric, arm in arms.items()}
        returns = arms["return_bps"]
        return VersionMetrics(
            version=self.version,
            instruments=tuple(sorted(self.of["accuracy"].instruments)),
            classification=classification(self._confusion),
            markouts=self.of["markout_bps"].whole.count,
            markout_bps=means["markout_bps"],
            trades=self.of["win_rate"].whole.count,
            win_rate=means["win_rate"],
            return_bps=means["return_bps"],
            sharpe_per_trade=means["return_bps"] / math.sqrt(returns.variance) if returns.variance > 0 else math.nan,
            total_pnl=self._pnl,
            requests=self.of["error_rate"].whole.count,
            error_rate=means["error_rate"],
            latency_ms=means["latency_ms"],
            latency_p95_ms=percentile_ms(self._latencies, 0.95) if self._latencies else math.nan,
        )


def classification(confusion: Mapping[tuple[str, str], int]) -> Classification:
    """Return the scores of counts of (predicted, actual)."""
    names = sorted({name for pair in confusion for name in pair})
    counts = [[confusion.get((predicted, actual), 0) for predicted in names] for actual in names]
    table = np.array(counts, dtype=np.int64).reshape(len(names), len(names))
    scores = class_scores(table)
    precision, recall, f1 = (np.nan_to_num(array).tolist() for array in (scores.precision, scores.recall, scores.f1))
    classes = {
        name: ClassScores(precision[index], recall[index], f1[index], int(scores.support[index]))
        for index, name in enumerate(names)
    }
    return Classification(
        predictions=int(table.sum()),
        accuracy=float(accuracy(table)),
        precision=_mean(precision),
        recall=_mean(recall),
        f1=_mean(f1),
        classes=classes,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


@dataclass
class Sums:
    """Sums over the observations of one cluster."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, count: int, total: float, squares: float) -> None:
        """Add observations."""
        self.count += count
        self.total += total
        self.squares += squares


@dataclass
class ClusterSums:
    """Sums of one metric of one version."""

    whole: Sums = field(default_factory=Sums)
    """All observations."""
    blocks: defaultdict[int, Sums] = field(default_factory=lambda: defaultdict(Sums))
    """Block of time -> its observations."""
    instruments: defaultdict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    """Instrument -> its observations; empty for metrics that are not about one instrument."""

    def observe(self, value: float, block: int, instrument: str) -> None:
        """Add one observation."""
        self.add(1, value, value * value, block)
        self.instruments[instrument].add(1, value, value * value)

    def add(self, count: int, total: float, squares: float, block: int) -> None:
        """Add observations of which only the sums are known; ``count`` may be 0."""
        if count:
            self.whole.add(count, total, squares)
            self.blocks[block].add(count, total, squares)

    def arm(self, by_instrument: bool) -> Arm:
        """Return the mean and its variance.

        Parameters
        ----------
        by_instrument : bool
            Whether an instrument is with one version as a whole, and so counts as a cluster.
        """
        count = self.whole.count
        if not count:
            return Arm(0, np.nan, np.nan, np.nan)
        mean = self.whole.total / count
        spread = self.whole.squares - count * mean**2
        variance = spread / (count - 1) if spread > _ROUNDING * self.whole.squares else 0.0
        clusters = [_between(self.blocks.values(), mean, count)]
        if by_instrument:
            clusters.append(_between(self.instruments.values(), mean, count))
        return Arm(count, mean, variance, max(variance, *clusters))


def _between(clusters: Iterable[Sums], mean: float, count: int) -> float:
    """Return the cluster-robust long-run variance; 0 with fewer than two clusters, which say nothing about it."""
    residuals = np.array([cluster.total - cluster.count * mean for cluster in clusters])
    if len(residuals) < 2:
        return 0.0
    return float(len(residuals) / (len(residuals) - 1) * (residuals**2).sum() / count)
