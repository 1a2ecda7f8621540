"""What an experiment says so far: metrics of both versions, their differences, the decision.

What the intervals rest on. Predictions within one block of time (a slice, or `Rules.block_s`) may depend on each
other in any way; blocks are taken to be independent, which slices are since chance assigns them. In a split
by instrument some instruments are easier than others, for any model: instruments count as clusters, too, so
that three easy instruments make no better model. What is left is that few clusters are few: with three instruments
to a version such an interval is some percent too sure, and a split by instrument never proves a difference smaller
than what instruments differ by. Slices of time have neither trouble.

Requests are clustered by minute. In a split by time an outage of some minutes in the challenger's slice therefore
counts against it; the other way a failing challenger would go on until it has had several slices, and a rollback made
in error costs no more than a new experiment. Requests come as sums of windows; looking at the ends of windows is a
part of looking always, so the intervals hold there.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from nautilus_torchserve.experiments.ab.experiment import find_experiment
from nautilus_torchserve.experiments.ab.metrics import CALLS, METRICS, VersionMetrics, VersionTally
from nautilus_torchserve.experiments.ab.rules import Decision, Evidence, Rules, decide
from nautilus_torchserve.experiments.ab.sequential_tests import Interval, confidence_sequence, welch
from nautilus_torchserve.traffic.records import CallWindow, ClosedTrade, ScoredPrediction
from nautilus_torchserve.traffic.split import Split, Unit
from nautilus_torchserve.traffic.store import TrafficStore

CALL_BLOCK_NS = 60_000_000_000
"""Requests of one minute are taken to depend on each other, or of one slice where that is shorter; nanoseconds."""
_Kept = TypeVar("_Kept", ScoredPrediction, ClosedTrade, CallWindow)


@dataclass(frozen=True)
class Difference:
    """One metric, challenger - baseline."""

    baseline_count: int
    challenger_count: int
    """Observations of each."""
    anytime: Interval
    """The confidence sequence: may be looked at any time."""
    fixed: Interval
    """Welch's interval: valid only if looked at once, at a sample size fixed before, for independent observations."""
    fixed_p: float
    """The p-value of Welch's t-test; likewise."""

    def as_dict(self) -> dict[str, float]:
        """In plain types."""
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
    """What an experiment says so far."""

    experiment: Split
    rules: Rules
    baseline: VersionMetrics
    challenger: VersionMetrics
    differences: dict[str, Difference]
    """By metric, one of `METRICS`."""
    decision: Decision
    left_out: int
    """Records of other versions: a position may keep an instrument with an older one."""

    def as_dict(self) -> dict[str, Any]:
        """In plain JSON types; what is unknown or infinite is None."""
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


class Reading:
    """Reads an experiment's records as they come; `update` reads only what is new.

    On a server's database a record that another transaction wrote in between can be counted twice or not at
    all; whoever acts on a decision reads once more from the beginning (`analyze`).

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
        self._tallies = {version: VersionTally(version, block_ns, call_block_ns) for version in versions}
        self._read = {ScoredPrediction: 0, ClosedTrade: 0, CallWindow: 0}
        self._left_out = 0

    def update(self) -> None:
        """Take in the records that were kept since the last time."""
        self._take(ScoredPrediction)
        self._take(ClosedTrade)
        self._take(CallWindow)

    def analysis(self) -> Analysis:
        """What the records read so far say."""
        experiment = self._experiment
        baseline, challenger = self._tallies[experiment.baseline], self._tallies[experiment.challenger]
        by_instrument = experiment.unit is Unit.INSTRUMENT
        differences = {
            metric: _difference(metric, baseline, challenger, self._rules, by_instrument) for metric in METRICS
        }
        evidence = Evidence(
            accuracy=differences["accuracy"].anytime,
            latency_ms=differences["latency_ms"].anytime,
            error_rate=differences["error_rate"].anytime,
            baseline_error_rate=baseline.metrics().error_rate,
            blocks=min(len(each.of["accuracy"].blocks) for each in (baseline, challenger)),
            call_blocks=min(len(each.of["error_rate"].blocks) for each in (baseline, challenger)),
            instruments=None
            if not by_instrument
            else min(len(each.of["accuracy"].instruments) for each in (baseline, challenger)),
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

    def _take(self, kind: type[_Kept]) -> None:
        records = self._store.read(kind, self._experiment.name, after=self._read[kind])
        self._read[kind] += len(records)
        for record in records:
            if record.version in self._tallies:
                self._tallies[record.version].add(record)
            else:
                self._left_out += 1


def analyze(store: TrafficStore, name: str) -> Analysis:
    """What an experiment says so far, from all its records; raises `NoExperiment`."""
    reading = Reading(store, name)
    reading.update()
    return reading.analysis()


def _difference(
    metric: str, baseline: VersionTally, challenger: VersionTally, rules: Rules, by_instrument: bool
) -> Difference:
    arms = tuple(each.of[metric].arm(by_instrument) for each in (baseline, challenger))
    least = rules.least_requests if metric in CALLS else rules.least_predictions
    anytime = confidence_sequence(*arms, alpha=rules.alpha, tuned_for=rules.tuned_for, least=least)
    p, fixed = welch(*arms, alpha=rules.alpha)
    return Difference(baseline.of[metric].whole.count, challenger.of[metric].whole.count, anytime, fixed, p)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
