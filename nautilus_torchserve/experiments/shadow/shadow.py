"""Shadow: a challenger gets copies of the requests that the baseline answers, and its answers are only recorded."""

import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nautilus_torchserve.experiments.drift import stability
from nautilus_torchserve.experiments.lifecycle import check_challenger, start_split, stop_split
from nautilus_torchserve.release.rollout.journal import locked
from nautilus_torchserve.release.rollout.report import Progress, no_progress, write_files
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.traffic.records import CallTotals, CallWindow, ShadowAnswer, output_bucket, percentile_ms
from nautilus_torchserve.traffic.split import Kind, Split, State
from nautilus_torchserve.traffic.store import RecordReader, TrafficStore
from nautilus_torchserve.user_error import InvalidArgument

DIRECTION = "return_bps"
"""Output whose sign is the direction that a price model predicts."""
CLASSES = (("buy", "sell", "hold"), ("negative", "neutral", "positive"))
"""Outputs of which the largest is the class that a classifier predicts."""


@dataclass(frozen=True)
class Difference:
    """Difference of one output between both versions, for the same inputs."""

    mean: float
    """Mean absolute difference, in the output's unit."""
    p95: float
    """95th percentile of the absolute difference."""
    psi: float
    """Population stability index, see `experiments.drift.stability`."""


@dataclass(frozen=True)
class Latency:
    """Latency of the answered requests, milliseconds; percentiles at the upper edge of 5 % buckets."""

    requests: int
    mean_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ShadowReport:
    """One shadow that has ended."""

    split: str
    model: str
    baseline: str
    challenger: str
    ended: str
    """Reason for its end: ``time``, ``answers``, or the interruption."""
    answers: int
    """Rows that the challenger answered."""
    errors: int
    """Rows that it failed on."""
    not_copied: int
    """Rows that only the baseline answered: the challenger could not keep up, or had not answered yet at the end."""
    commonest_error: str | None
    agreement: float | None
    """Share of the rows in which both predict the same class, or the same sign of `DIRECTION`; None where there are
    no such outputs."""
    outputs: dict[str, Difference]
    """Differences of the outputs that both have."""
    only_one_has: tuple[str, ...]
    """Outputs that only one of them has."""
    baseline_latency: Latency | None
    """None: no requests were answered."""
    challenger_latency: Latency | None
    began: str
    """ISO 8601, UTC."""
    took_s: float

    @property
    def ok(self) -> bool:
        """Whether it came to its end with answers to compare."""
        return self.ended in ("time", "answers") and self.answers > 0

    def as_dict(self) -> dict[str, Any]:
        """Return the report in plain JSON types."""
        return {**asdict(self), "only_one_has": list(self.only_one_has), "action": "shadow", "ok": self.ok}

    def as_text(self) -> str:
        """Return the report as text."""
        agreement = "no class or direction to compare" if self.agreement is None else f"{self.agreement:.1%}"
        lines = [
            f"shadow {self.model}: {self.challenger} beside {self.baseline}, {self.began}, {self.took_s:.0f} s "
            f"({self.split})",
            "",
            f"  answers     {self.answers:,}, failed {self.errors:,}, not copied {self.not_copied:,}",
            f"  agreement   {agreement}",
            "",
            f"  {'latency':<12}{'requests':>10}{'mean ms':>10}{'p95 ms':>10}{'p99 ms':>10}",
        ]
        for version, latency in ((self.baseline, self.baseline_latency), (self.challenger, self.challenger_latency)):
            columns = ""
            if latency is not None:
                columns = (
                    f"{latency.requests:>10,}{latency.mean_ms:>10.2f}{latency.p95_ms:>10.2f}{latency.p99_ms:>10.2f}"
                )
            lines.append(f"  {version:<12}{columns}")
        lines += ["", f"  {'output':<20}{'mean diff':>12}{'p95 diff':>12}{'PSI':>8}"]
        for name, difference in self.outputs.items():
            lines.append(f"  {name:<20}{difference.mean:>12.4g}{difference.p95:>12.4g}{difference.psi:>8.3f}")
        lines += [f"  {name:<20}  only one version has it" for name in self.only_one_has]
        if self.commonest_error is not None:
            lines += ["", f"  commonest error: {self.commonest_error}"]
        lines += ["", f"ended: {self.ended}"]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> Path:
        """Write the report as JSON and as text, and return the path of the JSON."""
        name = f"shadow-{self.model}-{self.challenger}"
        return write_files(folder, self.began, name, self.as_dict(), self.as_text())


class ShadowComparison:
    """Comparison of shadow answers as they come."""

    def __init__(self) -> None:
        self.answers = 0
        self.errors: Counter[str] = Counter()
        """Error of the challenger -> rows."""
        self.only_one_has: set[str] = set()
        self._agreed: list[bool] = []
        self._differences: dict[str, array[float]] = {}
        self._baseline: dict[str, Counter[int]] = {}
        self._challenger: dict[str, Counter[int]] = {}

    def add(self, answers: Sequence[ShadowAnswer]) -> None:
        """Add more answers."""
        for answer in answers:
            if answer.error:
                self.errors[answer.error] += 1
                continue
            self.answers += 1
            self.only_one_has |= answer.outputs.keys() ^ answer.baseline_outputs.keys()
            for name in answer.outputs.keys() & answer.baseline_outputs.keys():
                value, baseline_value = answer.outputs[name], answer.baseline_outputs[name]
                self._differences.setdefault(name, array("d")).append(abs(value - baseline_value))
                self._baseline.setdefault(name, Counter())[output_bucket(baseline_value)] += 1
                self._challenger.setdefault(name, Counter())[output_bucket(value)] += 1
            predicted = _predicted(answer.baseline_outputs)
            if predicted is not None:
                self._agreed.append(_predicted(answer.outputs) == predicted)

    def agreement(self) -> float | None:
        """Return the agreement, see `ShadowReport`."""
        return sum(self._agreed) / len(self._agreed) if self._agreed else None

    def differences(self) -> dict[str, Difference]:
        """Return the difference of each output, in alphabetical order."""
        return {
            name: Difference(
                float(np.mean(values)),
                float(np.percentile(values, 95)),
                stability(self._baseline[name], self._challenger[name]).index,
            )
            for name, values in sorted(self._differences.items())
        }


def latency_of(totals: CallTotals) -> Latency | None:
    """Return a version's latency; None where it answered no request."""
    answered = totals.latencies.total()
    if not answered:
        return None
    p95_ms, p99_ms = (percentile_ms(totals.latencies, share) for share in (0.95, 0.99))
    return Latency(answered, totals.latency_ms_sum / answered, p95_ms, p99_ms)


def _predicted(outputs: Mapping[str, float]) -> str | float | None:
    """Return the class or the direction predicted; None where the outputs have neither."""
    for classes in CLASSES:
        if outputs.keys() >= set(classes):
            return max(classes, key=outputs.__getitem__)
    return float(np.sign(outputs[DIRECTION])) if DIRECTION in outputs else None


PROGRESS_INTERVAL_S = 10.0


@dataclass(frozen=True)
class ShadowSettings:
    """Length and share of a shadow."""

    for_s: float = 600.0
    """Longest time, seconds."""
    answers: int | None = None
    """Rows of the challenger after which it ends earlier."""
    share: float = 1.0
    """Share of the requests that are copied."""
    look_s: float = 1.0
    """Time between two looks into the store, seconds."""
    settle_s: float = 3.0
    """Time that routers may take at the end to write their records: a few of their ``refresh_s``, seconds."""

    def __post_init__(self) -> None:
        if not (self.for_s > 0 and 0 < self.share <= 1 and self.look_s > 0 and self.settle_s >= 0):
            raise InvalidArgument(f"expected for_s and look_s > 0, share in (0, 1] and settle_s >= 0, got {self}")
        if self.answers is not None and self.answers < 1:
            raise InvalidArgument(f"answers: expected at least 1, got {self.answers}")


DEFAULTS = ShadowSettings()


@dataclass
class _ShadowRecords:
    """Records of a shadow so far, read from the store as they come."""

    store: TrafficStore
    split: Split
    comparison: ShadowComparison = field(default_factory=ShadowComparison)
    baseline: CallTotals = field(default_factory=CallTotals)
    challenger: CallTotals = field(default_factory=CallTotals)

    def __post_init__(self) -> None:
        self._reader = RecordReader(self.store, self.split.name)

    def update(self) -> None:
        """Read what routers have written since the last time."""
        self.comparison.add(self._reader.read(ShadowAnswer))
        for window in self._reader.read(CallWindow):
            if window.version == self.split.baseline:
                self.baseline.add(window)
            elif window.version == self.split.challenger:
                self.challenger.add(window)


def shadow(
    target: Target,
    store: TrafficStore,
    model: str,
    challenger: str,
    settings: ShadowSettings = DEFAULTS,
    progress: Progress = no_progress,
) -> ShadowReport:
    """Have routers send a registered version copies of the default version's requests, and compare the answers.

    The challenger's answers are not traded on. Both versions get the same inputs, unlike in a split by instrument. The
    challenger stays registered.

    Parameters
    ----------
    challenger : str
        A version that is registered and READY, and not the default one.
    progress : callable
        Takes lines of progress.

    Returns
    -------
    ShadowReport
        ``ended`` says whether Ctrl-C, or another process, ended the shadow early.

    Raises
    ------
    RolloutRefused, SplitRefused
        Nothing was begun: a rollout or another split of the model is under way, or there is no such challenger.
    StoreFailed, ManagementError
        The store or the server cannot be reached.
    """
    began, clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.monotonic()
    with locked(target, model, f"shadow of {challenger}"):
        baseline, _ = check_challenger(target, model, challenger)
        split = start_split(store, model, Kind.SHADOW, baseline, challenger, settings.share)
        progress(f"{split.name}: {challenger} gets copies of the requests of {baseline}")
        records = _ShadowRecords(store, split)
        try:
            ended = _collect(records, settings, progress)
        except KeyboardInterrupt:
            ended = "interrupted"
        finally:
            failure = stop_split(store, split)
        time.sleep(settings.settle_s)
        records.update()
    return _report(records, ended + failure, settings, began, time.monotonic() - clock)


def _collect(records: _ShadowRecords, settings: ShadowSettings, progress: Progress) -> str:
    """Collect answers until the time is over, there are enough or the split was ended; return the reason."""
    began = reported = time.monotonic()
    while True:
        time.sleep(settings.look_s)
        records.update()
        now = time.monotonic()
        state = records.store.split(records.split.name).state
        if state is not State.RUNNING:
            return f"another process ended it as {state}"
        comparison = records.comparison
        if settings.answers is not None and comparison.answers >= settings.answers:
            return "answers"
        if now - began >= settings.for_s:
            return "time"
        if now - reported >= PROGRESS_INTERVAL_S:
            reported = now
            progress(f"{comparison.answers} answers, {comparison.errors.total()} failed")


def _report(records: _ShadowRecords, ended: str, settings: ShadowSettings, began: str, took_s: float) -> ShadowReport:
    split, comparison = records.split, records.comparison
    failed = comparison.errors.total()
    rows = max((counts.total() for counts in records.baseline.outputs.values()), default=0)
    return ShadowReport(
        split=split.name,
        model=split.model,
        baseline=split.baseline,
        challenger=split.challenger,
        ended=ended,
        answers=comparison.answers,
        errors=failed,
        not_copied=max(0, round(settings.share * rows) - comparison.answers - failed),
        commonest_error=comparison.errors.most_common(1)[0][0] if failed else None,
        agreement=comparison.agreement(),
        outputs=comparison.differences(),
        only_one_has=tuple(sorted(comparison.only_one_has)),
        baseline_latency=latency_of(records.baseline),
        challenger_latency=latency_of(records.challenger),
        began=began,
        took_s=took_s,
    )
