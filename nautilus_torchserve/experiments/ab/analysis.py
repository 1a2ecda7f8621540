"""Analysis of an experiment: metrics of both versions, their differences, the decision.

The intervals rest on these assumptions. Predictions within one block of time (a slice, or `Rules.block_s`) may depend
on each other in any way. Blocks are taken to be independent; slices are, since chance assigns them. In a split by
instrument some instruments are easier than others for any model: instruments count as clusters, too, so that three
easy instruments make no better model. Few clusters remain few: with three instruments to a version such an interval is
a few percent too narrow, and a split by instrument never proves a difference smaller than that between instruments.
Slices of time have neither problem.

Requests are clustered by minute. In a split by time an outage of some minutes in the challenger's slice therefore
counts against it. Otherwise a failing challenger would go on until it has had several slices, while a rollback made in
error costs no more than a new experiment. Requests come as sums of windows; the ends of windows are some of the times
at which the intervals hold.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from nautilus_torchserve.experiments.ab.experiment import find_experiment
from nautilus_torchserve.experiments.ab.metrics import CALLS, METRICS, VersionMetrics, VersionSums
from nautilus_torchserve.experiments.ab.rules import Decision, Evidence, Rules, decide
from nautilus_torchserve.experiments.ab.sequential_tests import Interval, confidence_sequence, welch
from nautilus_torchserve.traffic.records import CallWindow, ClosedTrade, ScoredPrediction
from nautilus_torchserve.traffic.split import Split, Unit
from nautilus_torchserve.traffic.store import RecordReader, TrafficStore

CALL_BLOCK_NS = 60_000_000_000
"""Requests of one minute are taken to depend on each other, or of one slice where that is shorter; nanoseconds."""


@dataclass(frozen=True)
class Difference:
    """One metric, challenger - baseline."""

    baseline_count: int
    challenger_count: int
    """Observations of each version."""
    anytime: Interval
    """Confidence sequence: valid at any time."""
    fixed: Interval
    """Welch's interval: valid only once, at a sample size fixed before, for independent observations."""
    fixed_p: float
    """P-value of Welch's t-test; likewise."""

    def as_dict(self) -> dict[str, float]:
        """Return the difference in plain JSON types."""
        return {
            "baseline_count": self.baseline_count,
            "challenger_count": self.challenger_count,
            "difference": self.anytime.difference,
            "lower": self.anytime.lower,
            "upper": self.anytime.upper,
            "welch_p": self.fixed_p,
            "welch_lower": self.fixed.lower,
            "welch_upper": self.fixed.upper,
        }


@dataclass(frozen=True)
class Analysis:
    """State of an experiment: metrics, differences, decision."""

    experiment: Split
    rules: Rules
    baseline: VersionMetrics
    challenger: VersionMetrics
    differences: dict[str, Difference]
    """By metric, one of `METRICS`."""
    decision: Decision
    left_out: int
    """Records of other versions, as a position may keep an instrument with an older one."""

    def as_dict(self) -> dict[str, Any]:
        """Return the analysis in plain JSON types; unknown and infinite numbers are None."""
        return _plain(
            {
                "experiment": {**asdict(self.experiment), "settings": asdict(self.rules)},
                "baseline": asdict(self.baseline),
                "challenger": asdict(self.challenger),
                "differences": {metric: difference.as_dict() for metric, difference in self.differences.items()},
                "decision": asdict(self.decision),
                "left_out": self.left_out,
            }
        )


class IncrementalAnalysis:
    """Analysis of an experiment's records as they come.

    `RecordReader` may count a record twice or not at all; before a decision is acted on, `analyze` reads all records
    again.

    Raises
    ------
    NoExperiment
        There is none of this name.
    """

    def __init__(self, store: TrafficStore, name: str) -> None:
        self._store = store
        self._experiment = find_experiment(store, name)
        self._rules = Rules.from_json(self._experiment.settings)
        by_time = self._experiment.unit is Unit.TIME
        block_ns = self._experiment.slice_ns if by_time else round(self._rules.block_s * 1e9)
        call_block_ns = min(self._experiment.slice_ns, CALL_BLOCK_NS) if by_time else CALL_BLOCK_NS
        versions = (self._experiment.baseline, self._experiment.challenger)
        self._sums = {version: VersionSums(version, block_ns, call_block_ns) for version in versions}
        self._reader = RecordReader(store, self._experiment.name)
        self._left_out = 0

    def update(self) -> None:
        """Read the records that were written since the last time."""
        records: list[ScoredPrediction | ClosedTrade | CallWindow] = []
        records += self._reader.read(ScoredPrediction)
        records += self._reader.read(ClosedTrade)
        records += self._reader.read(CallWindow)
        for record in records:
            if record.version in self._sums:
                self._sums[record.version].add(record)
            else:
                self._left_out += 1

    def analysis(self) -> Analysis:
        """Return the analysis of the records read so far."""
        experiment = self._experiment
        baseline, challenger = self._sums[experiment.baseline], self._sums[experiment.challenger]
        by_instrument = experiment.unit is Unit.INSTRUMENT
        differences = {
            metric: _difference(metric, baseline, challenger, self._rules, by_instrument) for metric in METRICS
        }
        predictions, calls = (
            [sums.of[metric] for sums in (baseline, challenger)] for metric in ("accuracy", "error_rate")
        )
        evidence = Evidence(
            accuracy=differences["accuracy"].anytime,
            latency_ms=differences["latency_ms"].anytime,
            error_rate=differences["error_rate"].anytime,
            baseline_error_rate=baseline.metrics().error_rate,
            blocks=min(len(sums.blocks) for sums in predictions),
            call_blocks=min(len(sums.blocks) for sums in calls),
            instruments=min(len(sums.instruments) for sums in predictions) if by_instrument else None,
        )
        return Analysis(
            self._store.split(experiment.name),
            self._rules,
            baseline.metrics(),
            challenger.metrics(),
            differences,
            decide(self._rules, evidence),
            self._left_out,
        )


def analyze(store: TrafficStore, name: str) -> Analysis:
    """Analyse an experiment from all its records; raises `NoExperiment`."""
    incremental = IncrementalAnalysis(store, name)
    incremental.update()
    return incremental.analysis()


def _difference(
    metric: str, baseline: VersionSums, challenger: VersionSums, rules: Rules, by_instrument: bool
) -> Difference:
    arms = tuple(sums.of[metric].arm(by_instrument) for sums in (baseline, challenger))
    least = rules.least_requests if metric in CALLS else rules.least_predictions
    anytime = confidence_sequence(*arms, alpha=rules.alpha, tuned_for=rules.tuned_for, least=least)
    p, fixed = welch(*arms, alpha=rules.alpha)
    return Difference(baseline.of[metric].whole.count, challenger.of[metric].whole.count, anytime, fixed, p)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
