"""Experiments on the console: lines, tables, and the decision."""

import math
from collections.abc import Sequence

from rich.table import Column, Table

from nautilus_torchserve.experiments.ab.analysis import Analysis
from nautilus_torchserve.experiments.ab.dependence import DependentOutcomes
from nautilus_torchserve.experiments.ab.metrics import METRICS, ClassScores
from nautilus_torchserve.experiments.ab.rules import Action
from nautilus_torchserve.experiments.ab.simulation import BetterVersion, EqualVersions, ErrorRates
from nautilus_torchserve.traffic.split import Split, Unit

_NAMES = {
    "accuracy": "accuracy",
    "markout_bps": "markout, bps",
    "win_rate": "win rate",
    "return_bps": "return a trade, bps",
    "latency_ms": "latency, ms",
    "error_rate": "error rate",
}
_PERCENT = ("accuracy", "win_rate", "error_rate")


def described(experiment: Split) -> str:
    """Return one line: the versions, the split and the state."""
    unit = "instruments" if experiment.unit is Unit.INSTRUMENT else f"time slices of {experiment.slice_ns / 6e10:g} min"
    return (
        f"{experiment.name}: {experiment.model} {experiment.challenger} against {experiment.baseline} with "
        f"{experiment.share:.0%} of the {unit}, {experiment.state}"
    )


def metrics_table(analysis: Analysis) -> Table:
    """Return the metrics of both versions side by side."""
    table = Table(
        Column(no_wrap=True), f"{analysis.baseline.version} (baseline)", f"{analysis.challenger.version} (challenger)"
    )
    arms = (analysis.baseline, analysis.challenger)
    scores = [arm.classification for arm in arms]
    for name, values in (
        ("scored predictions", [f"{score.predictions:,}" for score in scores]),
        ("accuracy", [_percent(score.accuracy) for score in scores]),
        (
            "precision, recall, F1 (macro)",
            [f"{score.precision:.3f}, {score.recall:.3f}, {score.f1:.3f}" for score in scores],
        ),
        *(
            (f"  {name}", [_class_scores(score.classes.get(name)) for score in scores])
            for name in sorted({*scores[0].classes, *scores[1].classes})
        ),
        ("markout, bps (predictions)", [f"{_number(arm.markout_bps)} ({arm.markouts:,})" for arm in arms]),
        ("trades, win rate", [f"{arm.trades:,}, {_percent(arm.win_rate)}" for arm in arms]),
        ("P&L, quote currency", [f"{arm.total_pnl:,.2f}" for arm in arms]),
        ("Sharpe a trade, not annualised", [_number(arm.sharpe_per_trade) for arm in arms]),
        ("requests, error rate", [f"{arm.requests:,}, {_percent(arm.error_rate)}" for arm in arms]),
        ("latency mean, p95, ms", [f"{_number(arm.latency_ms)}, {_number(arm.latency_p95_ms)}" for arm in arms]),
    ):
        table.add_row(name, *values)
    return table


def differences_table(analysis: Analysis) -> Table:
    """Return the differences challenger - baseline, with both intervals."""
    table = Table(
        Column("challenger - baseline", no_wrap=True),
        "observations",
        "difference",
        "at any time",
        "fixed sample size",
    )
    for metric in METRICS:
        difference = analysis.differences[metric]
        if not min(difference.baseline_count, difference.challenger_count):
            continue
        scale = 100 if metric in _PERCENT else 1
        anytime, fixed = difference.anytime, difference.fixed
        table.add_row(
            _NAMES[metric] + (", points" if metric in _PERCENT else ""),
            f"{difference.baseline_count:,} and {difference.challenger_count:,}",
            f"{scale * anytime.difference:+.2f}",
            _range(scale * anytime.lower, scale * anytime.upper),
            f"{_range(scale * fixed.lower, scale * fixed.upper)}, p {_p_value(difference.fixed_p)}"
            if math.isfinite(fixed.radius)
            else "unknown",
        )
    return table


def decision(analysis: Analysis) -> str:
    """Return the decision with its reason, and what both intervals mean."""
    level = f"{1 - analysis.rules.alpha:.0%}"
    names = {Action.PROMOTE: "PROMOTE", Action.ROLL_BACK: "ROLL BACK", Action.CONTINUE: "CONTINUE"}
    lines = [
        f"{names[analysis.decision.action]}: {analysis.decision.reason}.",
        f"'At any time': confidence sequence, {level}, clustered by time"
        + (" and instrument" if analysis.experiment.unit is Unit.INSTRUMENT else "")
        + "; valid however often it is checked. 'Fixed sample size': Welch's t-test, valid only once, at a sample size "
        "fixed before, for independent observations.",
    ]
    if analysis.left_out:
        lines.append(f"{analysis.left_out:,} records of other versions are left out.")
    return "\n".join(lines)


def error_rate_tables(rates: ErrorRates) -> list[Table]:
    """Return a table for each kind of simulation."""
    return [_equal_table(rates.equal), _better_table(rates.better), _dependent_table(rates.dependent)]


def error_rate_summary(rates: ErrorRates) -> str:
    """Return the simulations' results in two sentences."""
    worst, welch = max(row.promoted for row in rates.equal), max(row.welch_promoted for row in rates.equal)
    clustered = max(row.promoted for row in rates.dependent)
    one_by_one = max(row.one_by_one for row in rates.dependent)
    return (
        f"Equal versions, checked after every prediction, were promoted in at most {_percent(worst)} of the "
        f"experiments; Welch's t-test, checked as often, would have promoted up to {_percent(welch)}. With clustered "
        f"outcomes {_percent(clustered)} were promoted; without clustering, {_percent(one_by_one)} would have been."
    )


def _equal_table(rows: Sequence[EqualVersions]) -> Table:
    """Return the false promotions of equal versions."""
    first = rows[0]
    table = Table(
        "accuracy of both",
        "challenger's share",
        "promoted",
        "truth excluded",
        "by Welch: promoted",
        "truth excluded",
        title=f"Equal versions, {first.experiments:,} experiments of {first.observations:,} predictions, "
        "checked after every one",
    )
    for row in rows:
        table.add_row(
            f"{row.accuracy:g}",
            f"{row.share:.0%}",
            _percent(row.promoted),
            _percent(row.excluded),
            _percent(row.welch_promoted),
            _percent(row.welch_excluded),
        )
    return table


def _better_table(rows: Sequence[BetterVersion]) -> Table:
    """Return the time until promotion."""
    table = Table(
        "challenger better by",
        "challenger's share",
        "half promoted after",
        "9 in 10 after",
        "of all",
        title=f"A better challenger (baseline {rows[0].accuracy:.0%} right), {rows[0].experiments:,} "
        "experiments, predictions until promotion",
    )
    for row in rows:
        table.add_row(
            f"{100 * row.gain:g} points",
            f"{row.share:.0%}",
            _count(row.half),
            _count(row.nine_in_ten),
            f"{row.promoted:.0%} after {row.observations:,}",
        )
    return table


def _dependent_table(rows: Sequence[DependentOutcomes]) -> Table:
    """Return the false promotions with dependent outcomes."""
    table = Table(
        "equal versions, dependent outcomes",
        "promoted",
        "without clustering",
        title=f"Dependence, {rows[0].experiments:,} experiments",
    )
    for row in rows:
        table.add_row(row.what, _percent(row.promoted), _percent(row.one_by_one))
    return table


def _class_scores(scores: ClassScores | None) -> str:
    if scores is None:
        return "never"
    return f"{scores.precision:.3f}, {scores.recall:.3f}, {scores.f1:.3f} of {scores.support:,}"


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "unknown"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %" if math.isfinite(value) else "unknown"


def _p_value(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _range(lower: float, upper: float) -> str:
    return f"{lower:+.2f} to {upper:+.2f}" if math.isfinite(upper) else "unknown"


def _count(value: int | None) -> str:
    return "more" if value is None else f"{value:,}"
