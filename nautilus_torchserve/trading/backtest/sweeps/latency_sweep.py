"""Latency sweep: the same backtest at several latencies, and the cost of a millisecond."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from nautilus_torchserve.reporting.sweeps.latency_page import write_latency_sweep
from nautilus_torchserve.trading.backtest.report_parts import all_instruments_labels, setting_labels
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.backtest.sweeps.grid import written
from nautilus_torchserve.trading.backtest.sweeps.point import Outcome, Subject, outcome_of, subject_of
from nautilus_torchserve.trading.checks import BadSetting, expect
from nautilus_torchserve.trading.durations import UNITS_NS

Settings = TypeVar("Settings", bound=RunSettings)
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s)?")


class LatencyRun(NamedTuple):
    """One of the backtests."""

    latency_ns: int
    outcome: Outcome


class MillisecondCost(NamedTuple):
    """The straight line through the two runs of least latency."""

    from_ns: int
    to_ns: int
    per_ms: float
    """Cost of each millisecond between them, in settlement currency; negative where the slower run made more."""


@dataclass(frozen=True)
class LatencySweep:
    """Results of the backtests, by latency."""

    subject: Subject
    runs: tuple[LatencyRun, ...]
    """At least two, the latency increasing."""

    @property
    def cost(self) -> MillisecondCost:
        """Cost of a millisecond at the lowest latencies."""
        first, second = self.runs[:2]
        lost = first.outcome.pnl - second.outcome.pnl
        per_ms = lost / ((second.latency_ns - first.latency_ns) / UNITS_NS["ms"])
        return MillisecondCost(first.latency_ns, second.latency_ns, per_ms)

    def as_dict(self) -> dict[str, Any]:
        """Return the sweep in plain JSON types."""
        return {
            **asdict(self.subject),
            "runs": [{"latency_ns": run.latency_ns, **asdict(run.outcome)} for run in self.runs],
            "millisecond_cost": self.cost._asdict(),
        }


def parse_latencies(text: str) -> list[int]:
    """Parse ``0,1,5,20,100ms`` to increasing nanoseconds; the last unit is that of values without one.

    Raises
    ------
    BadSetting
        Another form, or fewer than two different ones.
    """
    matches = [_PATTERN.fullmatch(part.strip()) for part in text.split(",")]
    unit = matches[-1] and matches[-1][2]
    if unit is None or not all(matches):
        raise BadSetting(f"expected latencies such as 0,1,5,20,100ms, got {text!r}")
    latencies_ns = {round(float(match[1]) * UNITS_NS[match[2] or unit]) for match in matches if match}
    expect(len(latencies_ns) > 1, f"at least 2 different latencies, got {text!r}")
    return sorted(latencies_ns)


def sweep_latencies(
    run: Callable[[Settings], BacktestResult],
    settings: Settings,
    latencies_ns: Sequence[int],
) -> LatencySweep:
    """Run the same backtest at each latency, constant in place of the settings' own or of their profile.

    All use the version of the first: only the latency differs.

    Parameters
    ----------
    run : callable
        Runs a backtest over its data: ``lambda changed: run_backtest(trades, changed)``.
    latencies_ns : sequence of int
        At least two, increasing.

    Raises
    ------
    BadSetting
        A latency is invalid with the other settings, before anything is run; or versions are split.
    """
    expect(settings.traffic is None, f"no traffic in a sweep (it moves while one runs), got {settings.traffic}")
    variants = [
        replace(settings, latency_ns=latency_ns, latency_profile=None, latency_workers=None)
        for latency_ns in latencies_ns
    ]
    runs: list[LatencyRun] = []
    subject: Subject | None = None
    for variant in variants:
        pinned = variant if subject is None else replace(variant, version=subject.version)
        result = run(pinned)
        subject = subject or subject_of(result, pinned)
        runs.append(LatencyRun(variant.latency_ns, outcome_of(result, pinned)))
    assert subject is not None
    return LatencySweep(subject, tuple(runs))


def write_latency_report(sweep: LatencySweep, settings: RunSettings, folder: Path) -> Path:
    """Write the page and the same numbers as JSON; return ``folder/index.html``."""
    labels = setting_labels(settings, sweep.subject.currency, all_instruments_labels(sweep.subject.definitions))
    del labels["Latency"]  # each run has its own
    return write_latency_sweep(sweep.as_dict(), [shown(run.latency_ns) for run in sweep.runs], labels, folder)


def shown(latency_ns: int) -> str:
    """Format a latency."""
    return written("latency_ns", latency_ns)
