"""What a shadowed challenger said to the inputs that the baseline answered, and how they compare."""

import json
import time
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nautilus_torchserve.experiments.calls import Calls, percentile_ms
from nautilus_torchserve.experiments.drift import stability
from nautilus_torchserve.traffic.records import ShadowAnswer, output_bucket

DIRECTION = "return_bps"
"""Output whose sign is what a price model says."""
CLASSES = (("buy", "sell", "hold"), ("negative", "neutral", "positive"))
"""Outputs of which the largest is what a classifier says."""


@dataclass(frozen=True)
class Difference:
    """One output of both versions to the same inputs."""

    mean: float
    """Mean absolute difference, in the output's unit."""
    p95: float
    """95th percentile of the absolute difference."""
    psi: float
    """Population stability index, see `experiments.drift.stability`."""


@dataclass(frozen=True)
class Latency:
    """Of the requests that were answered, milliseconds; percentiles at the upper edge of 5 % buckets."""

    requests: int
    mean_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ShadowReport:
    """One shadow, ended."""

    split: str
    model: str
    baseline: str
    challenger: str
    ended: str
    """Why it did: ``time``, ``answers``, or what came between."""
    answers: int
    """Rows that the challenger answered."""
    errors: int
    """Rows that it did not."""
    not_copied: int
    """Rows that only the baseline answered: the challenger could not keep up, or was still being asked at the end."""
    commonest_error: str | None
    agreement: float | None
    """Share of the answers in which both say the same class, or the same sign of `DIRECTION`; None where there are
    no such outputs."""
    outputs: dict[str, Difference]
    """Of the outputs that both have."""
    only_one_has: tuple[str, ...]
    """Outputs that only one of them has."""
    baseline_latency: Latency | None
    """None: no answers."""
    challenger_latency: Latency | None
    began: str
    """ISO 8601, UTC."""
    took_s: float

    @property
    def ok(self) -> bool:
        """Whether it came to its end and there are answers to compare."""
        return self.ended in ("time", "answers") and self.answers > 0

    def as_dict(self) -> dict[str, Any]:
        """In plain JSON types."""
        return {**asdict(self), "only_one_has": list(self.only_one_has), "action": "shadow", "ok": self.ok}

    def as_text(self) -> str:
        """For people."""
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
        for version, took in ((self.baseline, self.baseline_latency), (self.challenger, self.challenger_latency)):
            lines.append(
                f"  {version:<12}"
                + (
                    ""
                    if took is None
                    else (f"{took.requests:>10,}{took.mean_ms:>10.2f}{took.p95_ms:>10.2f}{took.p99_ms:>10.2f}")
                )
            )
        lines += ["", f"  {'output':<20}{'mean diff':>12}{'p95 diff':>12}{'PSI':>8}"]
        for name, each in self.outputs.items():
            lines.append(f"  {name:<20}{each.mean:>12.4g}{each.p95:>12.4g}{each.psi:>8.3f}")
        lines += [f"  {name:<20}  only one of them has it" for name in self.only_one_has]
        if self.commonest_error is not None:
            lines += ["", f"  commonest error: {self.commonest_error}"]
        lines += ["", f"ended: {self.ended}"]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> Path:
        """Keep it as JSON and as text; returns the JSON's path."""
        folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.strptime(self.began, "%Y-%m-%dT%H:%M:%SZ"))
        path = folder / f"{stamp}-shadow-{self.model}-{self.challenger}.json"
        path.write_text(json.dumps(self.as_dict(), indent=1) + "\n")
        path.with_suffix(".txt").write_text(self.as_text())
        return path


class Comparison:
    """Shadow answers, compared as they come: of each only its figures are kept."""

    def __init__(self) -> None:
        self.answers = 0
        self.errors: Counter[str] = Counter()
        """Why the challenger failed -> rows."""
        self.only_one_has: set[str] = set()
        self._agreed: list[bool] = []
        self._differences: dict[str, array[float]] = {}
        self._baseline: dict[str, Counter[int]] = {}
        self._challenger: dict[str, Counter[int]] = {}

    def add(self, answers: Sequence[ShadowAnswer]) -> None:
        """Take in more of them."""
        for answer in answers:
            if answer.error:
                self.errors[answer.error] += 1
                continue
            self.answers += 1
            self.only_one_has |= answer.outputs.keys() ^ answer.baseline_outputs.keys()
            for name in answer.outputs.keys() & answer.baseline_outputs.keys():
                theirs, ours = answer.outputs[name], answer.baseline_outputs[name]
                self._differences.setdefault(name, array("d")).append(abs(theirs - ours))
                self._baseline.setdefault(name, Counter())[output_bucket(ours)] += 1
                self._challenger.setdefault(name, Counter())[output_bucket(theirs)] += 1
            said = _says(answer.baseline_outputs)
            if said is not None:
                self._agreed.append(_says(answer.outputs) == said)

    def agreement(self) -> float | None:
        """See `ShadowReport`."""
        return sum(self._agreed) / len(self._agreed) if self._agreed else None

    def differences(self) -> dict[str, Difference]:
        """By output, in alphabetical order."""
        return {
            name: Difference(
                float(np.mean(values)),
                float(np.percentile(values, 95)),
                stability(self._baseline[name], self._challenger[name]).index,
            )
            for name, values in sorted(self._differences.items())
        }


def latency_of(calls: Calls) -> Latency | None:
    """A version's latencies; None where it answered nothing."""
    answered = calls.latencies.total()
    if not answered:
        return None
    p95_ms, p99_ms = (percentile_ms(calls.latencies, share) for share in (0.95, 0.99))
    return Latency(answered, calls.latency_ms_sum / answered, p95_ms, p99_ms)


def _says(outputs: Mapping[str, float]) -> str | float | None:
    """The class or the direction said; None where the outputs say neither."""
    for classes in CLASSES:
        if outputs.keys() >= set(classes):
            return max(classes, key=outputs.__getitem__)
    return float(np.sign(outputs[DIRECTION])) if DIRECTION in outputs else None
