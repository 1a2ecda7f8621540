"""What came of each version of an experiment: classification, trades, latency and errors, from the store's records."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nautilus_torchserve.experiments.ab.cluster_sums import Tally
from nautilus_torchserve.experiments.calls import percentile_ms
from nautilus_torchserve.scores.classification import accuracy, class_scores
from nautilus_torchserve.traffic.records import CallWindow, ClosedTrade, ScoredPrediction

CALLS = ("latency_ms", "error_rate")
"""Metrics of requests."""
METRICS = ("accuracy", "markout_bps", "win_rate", "return_bps", *CALLS)
"""Metrics that are means of observations, and so have intervals."""


@dataclass(frozen=True)
class ClassScores:
    """How well one class is told from the others."""

    precision: float
    """Of the predictions that said it, the share that was right; 0 where none said it."""
    recall: float
    """Of the outcomes that were it, the share that was said; 0 where none was."""
    f1: float
    """Harmonic mean of both; 0 where both are."""
    support: int
    """Outcomes that were it."""


@dataclass(frozen=True)
class Classification:
    """Scores of `ScoredPrediction`, as scikit-learn defines them with ``zero_division=0``."""

    predictions: int
    accuracy: float
    """Share of the predictions that came true; nan without any."""
    precision: float
    """Mean over the classes that were said or came true, each counting the same (macro)."""
    recall: float
    """Likewise."""
    f1: float
    """Likewise."""
    classes: Mapping[str, ClassScores]


@dataclass(frozen=True)
class VersionMetrics:
    """One version of an experiment. A figure without observations is nan."""

    version: str
    instruments: tuple[str, ...]
    """That it has scored predictions of."""
    classification: Classification
    markouts: int
    """Predictions that said a direction."""
    markout_bps: float
    """Mean move of the mid price over the horizon in the direction said, bps."""
    trades: int
    win_rate: float
    """Share of the trades that made money after fees."""
    return_bps: float
    """Mean return of a trade after fees, bps."""
    sharpe_per_trade: float
    """Mean over standard deviation of the trades' returns. Not annualised: that would need to know how many
    independent trades a year holds."""
    total_pnl: float
    """Sum over the trades, each in its instrument's quote currency: to be read as money only where these are one."""
    requests: int
    error_rate: float
    """Share of the requests that got an error or no answer in time."""
    latency_ms: float
    """Mean over the answered requests, as the callers saw it, milliseconds."""
    latency_p95_ms: float
    """Upper edge of the 5 % bucket that holds the 95th percentile, milliseconds."""


class VersionTally:
    """Adds up the records of one version as they come; `metrics` at any time.

    Parameters
    ----------
    version : str
    block_ns, call_block_ns : int
        Length of a block of time of the predictions and trades, and of the calls, nanoseconds.
    """

    def __init__(self, version: str, block_ns: int, call_block_ns: int) -> None:
        self.version = version
        self.of = {metric: Tally() for metric in METRICS}
        """Metric -> its observations."""
        self._block_ns, self._call_block_ns = block_ns, call_block_ns
        self._confusion: Counter[tuple[str, str]] = Counter()  # (predicted, actual)
        self._latencies: Counter[int] = Counter()
        self._pnl = 0.0

    def add(self, record: ScoredPrediction | ClosedTrade | CallWindow) -> None:
        """Take in one record of this version."""
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
        """The figures so far."""
        arms = {metric: tally.arm(by_instrument=False) for metric, tally in self.of.items()}
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
    """Scores from counts of (predicted, actual)."""
    names = sorted({each for pair in confusion for each in pair})
    counts = [[confusion.get((predicted, actual), 0) for predicted in names] for actual in names]
    table = np.array(counts, dtype=np.int64).reshape(len(names), len(names))
    scored = class_scores(table)
    precision, recall, f1 = (np.nan_to_num(each).tolist() for each in (scored.precision, scored.recall, scored.f1))
    classes = {
        name: ClassScores(precision[at], recall[at], f1[at], int(scored.support[at])) for at, name in enumerate(names)
    }
    return Classification(
        predictions=int(table.sum()),
        accuracy=float(accuracy(table)),
        precision=_average(precision),
        recall=_average(recall),
        f1=_average(f1),
        classes=classes,
    )


def _average(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else math.nan
