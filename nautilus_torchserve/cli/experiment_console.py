"""Experiments as a person reads them."""

import math
from collections.abc import Sequence

from rich.table import Column, Table

from nautilus_torchserve.experiments.ab.analysis import Analysis
from nautilus_torchserve.experiments.ab.dependence import DependentOutcomes
from nautilus_torchserve.experiments.ab.error_rates import ErrorRates
from nautilus_torchserve.experiments.ab.metrics import METRICS, ClassScores
from nautilus_torchserve.experiments.ab.rules import Action
from nautilus_torchserve.experiments.ab.simulation import BetterVersion, EqualVersions
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
    """One line: who against whom, and how."""
    unit = "instruments" if experiment.unit is Unit.INSTRUMENT else f"time slices of {experiment.slice_ns / 6e10:g} min"
    return (
        f"{experiment.name}: {experiment.model} {experiment.challenger} against {experiment.baseline} with "
        f"{experiment.share:.0%} of the {unit}, {experiment.state}"
    )


def metrics_table(analysis: Analysis) -> Table:
    """Both versions side by side."""
    table = Table(
        Column(no_wrap=True), f"{analysis.baseline.version} (baseline)", f"{analysis.challenger.version} (challenger)"
    )
    versions = (analysis.baseline, analysis.challenger)
    scores = [each.classification for each in versions]
    for name, values in (
        ("scored predictions", [f"{each.predictions:,}" for each in scores]),
        ("accuracy", [_percent(each.accuracy) for each in scores]),
        (
            "precision, recall, F1 (macro)",
            [f"{each.precision:.3f}, {each.recall:.3f}, {each.f1:.3f}" for each in scores],
        ),
        *(
            (f"  {name}", [_of_class(each.classes.get(name)) for each in scores])
            for name in sorted({*scores[0].classes, *scores[1].classes})
        ),
        ("markout, bps (predictions)", [f"{_number(each.markout_bps)} ({each.markouts:,})" for each in versions]),
        ("trades, win rate", [f"{each.trades:,}, {_percent(each.win_rate)}" for each in versions]),
        ("P&L, quote currency", [f"{each.total_pnl:,.2f}" for each in versions]),
        ("Sharpe a trade, not annualised", [_number(each.sharpe_per_trade) for each in versions]),
        ("requests, error rate", [f"{each.requests:,}, {_percent(each.error_rate)}" for each in versions]),
        ("latency mean, p95, ms", [f"{_number(each.latency_ms)}, {_number(each.latency_p95_ms)}" for each in versions]),
    ):
        table.add_row(name, *values)
    return table


def differences_table(analysis: Analysis) -> Table:
    """Challenger less baseline, with both readings."""
    table = Table(
        Column("challenger - baseline", no_wrap=True),
        "observations",
        "difference",
        "at any time",
        "if looked at only once",
    )
    for metric in METRICS:
        found = analysis.differences[metric]
        if not min(found.baseline_count, found.challenger_count):
            continue
        scale = 100 if metric in _PERCENT else 1
        anytime, fixed = found.anytime, found.fixed
        table.add_row(
            _NAMES[metric] + (", points" if metric in _PERCENT else ""),
            f"{found.baseline_count:,} and {found.challenger_count:,}",
            f"{scale * anytime.difference:+.2f}",
            _range(scale * anytime.lower, scale * anytime.upper),
            f"{_range(scale * fixed.lower, scale * fixed.upper)}, p {_p_value(found.fixed_p)}"
            if math.isfinite(fixed.radius)
            else "unknown",
        )
    return table


def verdict(analysis: Analysis) -> str:
    """What to do, and why; with what the two readings are worth."""
    level = f"{1 - analysis.rules.alpha:.0%}"
    said = {Action.PROMOTE: "PROMOTE", Action.ROLL_BACK: "ROLL BACK", Action.CONTINUE: "CONTINUE"}
    lines = [
        f"{said[analysis.decision.action]}: {analysis.decision.reason}.",
        f"'At any time': confidence sequence, {level}, clustered by time"
        + (" and instrument" if analysis.experiment.unit is Unit.INSTRUMENT else "")
        + "; look as often as you like. 'If "
        "looked at only once': Welch's t-test, valid only at a sample size fixed before, for independent observations.",
    ]
    if analysis.left_out:
        lines.append(f"{analysis.left_out:,} records of other versions are left out.")
    return "\n".join(lines)


def error_rate_tables(found: ErrorRates) -> list[Table]:
    """What was simulated."""
    return [_equal_table(found.equal), _better_table(found.better), _dependent_table(found.dependent)]


def error_rates_said(found: ErrorRates) -> str:
    """The same in two sentences."""
    worst, welch = max(each.promoted for each in found.equal), max(each.welch_promoted for each in found.equal)
    clustered = max(each.promoted for each in found.dependent)
    one_by_one = max(each.one_by_one for each in found.dependent)
    return (
        f"Equal versions, looked at after every prediction, were promoted in at most {_percent(worst)} of the "
        f"experiments; Welch's t-test, looked at as often, would have promoted up to {_percent(welch)}. Where "
        f"outcomes come in clusters {_percent(clustered)} were promoted; one by one, {_percent(one_by_one)} "
        "would have been."
    )


def _equal_table(found: Sequence[EqualVersions]) -> Table:
    """False promotions of equal versions."""
    first = found[0]
    table = Table(
        "accuracy of both",
        "challenger's share",
        "promoted",
        "truth excluded",
        "by Welch: promoted",
        "truth excluded",
        title=f"Equal versions, {first.experiments:,} experiments of {first.observations:,} predictions, "
        "looked at after every one",
    )
    for each in found:
        table.add_row(
            f"{each.accuracy:g}",
            f"{each.share:.0%}",
            _percent(each.promoted),
            _percent(each.excluded),
            _percent(each.welch_promoted),
            _percent(each.welch_excluded),
        )
    return table


def _better_table(found: Sequence[BetterVersion]) -> Table:
    """Time until promotion."""
    table = Table(
        "challenger better by",
        "challenger's share",
        "half promoted after",
        "9 in 10 after",
        "of all",
        title=f"A better challenger (baseline {found[0].accuracy:.0%} right), {found[0].experiments:,} "
        "experiments, predictions until promotion",
    )
    for each in found:
        table.add_row(
            f"{100 * each.gain:g} points",
            f"{each.share:.0%}",
            _count(each.half),
            _count(each.nine_in_ten),
            f"{each.promoted:.0%} after {each.observations:,}",
        )
    return table


def _dependent_table(found: Sequence[DependentOutcomes]) -> Table:
    """False promotions when outcomes depend on each other."""
    table = Table(
        "equal versions, dependent outcomes",
        "promoted",
        "counted one by one",
        title=f"Dependence, {found[0].experiments:,} experiments",
    )
    for each in found:
        table.add_row(each.what, _percent(each.promoted), _percent(each.one_by_one))
    return table


def _of_class(scores: ClassScores | None) -> str:
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
