"""Decision rules of an experiment, and the decision on its measurements."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.experiments.ab.sequential_tests import Arm, Interval, radius
from nautilus_torchserve.files.state_file import describe_mismatch
from nautilus_torchserve.user_error import InvalidArgument

_ABOVE_0 = (
    "promote_accuracy",
    "promote_latency_ms",
    "rollback_accuracy",
    "rollback_latency_ms",
    "block_s",
    "tuned_for",
)
_LEAST = {
    "least_predictions": 2,
    "least_requests": 2,
    "least_blocks": 2,
    "least_rollback_blocks": 1,
    "least_instruments": 1,
}


class BadRules(InvalidArgument):
    """Decision rules that make no sense."""


@dataclass(frozen=True)
class Rules:
    """Rules by which an experiment ends. Stored with the experiment, so that they cannot change while it runs."""

    alpha: float = 0.05
    """Probability that a confidence sequence ever misses the true difference. A promotion rests on one side of
    one sequence, so equal challengers are promoted in at most about alpha / 2 of the experiments; a rollback
    on one side of each of three."""
    promote_accuracy: float = 0.02
    """Promote: accuracy must be up by at least this (0.02: two points), and its sequence above zero."""
    promote_latency_ms: float = 2.0
    """Promote: mean latency must be up by less than this, milliseconds."""
    rollback_latency_ms: float = 2.0
    """Roll back: mean latency up by more than this, milliseconds, and its sequence above zero."""
    rollback_error_ratio: float = 1.5
    """Roll back: error rate this many times the baseline's or more, and the difference's sequence above zero."""
    rollback_accuracy: float = 0.05
    """Roll back: accuracy down by this much or more, and its sequence below zero."""
    least_predictions: int = 100
    """Scored predictions of each version before accuracy counts."""
    least_requests: int = 1_000
    """Requests to each version before latency and errors count."""
    least_blocks: int = 20
    """Blocks of time with predictions of each version before a promotion: with fewer, the variance between blocks is
    poorly known."""
    least_rollback_blocks: int = 2
    """Blocks of time of each version before a rollback, so that one bad block decides nothing. Fewer than for a
    promotion: a false rollback costs a new experiment, a false promotion costs money."""
    least_instruments: int = 3
    """Instruments with each version before a promotion in a split by instrument."""
    block_s: float = 3_600.0
    """Length of a block of time in a split by instrument, seconds: predictions within one are taken to depend on
    each other. In a split by time a block is a slice."""
    tuned_for: int = 5_000
    """Predictions, evenly split, at which the confidence sequence is narrowest; it is valid at any number."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise BadRules(f"alpha: expected a probability in (0, 1), got {self.alpha}")
        if not self.rollback_error_ratio > 1:
            raise BadRules(f"rollback_error_ratio: expected more than 1, got {self.rollback_error_ratio}")
        for name in _ABOVE_0:
            if not (math.isfinite(value := getattr(self, name)) and value > 0):
                raise BadRules(f"{name}: expected a number above 0, got {value}")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise BadRules(f"{name}: expected at least {least}, got {getattr(self, name)}")

    @classmethod
    def from_texts(cls, settings: Iterable[str]) -> "Rules":
        """Return the default rules with some of them replaced by ``NAME=VALUE``; raises `BadRules`."""
        types = {field.name: float if field.type is float else int for field in fields(cls)}
        values: dict[str, float | int] = {}
        for setting in settings:
            name, _, value = setting.partition("=")
            try:
                values[name] = types[name](value)
            except KeyError:
                raise BadRules(f"rule: expected one of {', '.join(types)}, got {name!r}") from None
            except ValueError:
                raise BadRules(f"{name}: expected {types[name].__name__}, got {value!r}") from None
        return cls(**values)  # type: ignore[arg-type]

    def to_json(self) -> str:
        """Return the rules as a split's ``settings``."""
        return json.dumps({"rules": asdict(self)})

    @classmethod
    def from_json(cls, settings: str) -> "Rules":
        """Read the rules from a split's ``settings``.

        Raises
        ------
        BadRules
            They hold no rules, or an unknown one.
        """
        try:
            stored = msgspec.json.decode(settings, type=dict[str, Any]).get("rules")
            unknown = sorted(set(stored) - {field.name for field in fields(cls)}) if isinstance(stored, dict) else None
            if unknown != []:
                got = settings if unknown is None else f"{unknown}"
                raise BadRules(f"settings: expected the rules of an experiment, got {got:.200}")
            return msgspec.convert(stored, cls)
        except BadRules:
            raise
        except (ValueError, RecursionError) as error:
            reason = describe_mismatch(error) if isinstance(error, ValueError) else "nested too deeply"
            got = f"{settings:.100}: {reason:.100}"
            raise BadRules(f"settings: expected the rules of an experiment, got {got}") from None


DEFAULT_RULES = Rules()


class Action(StrEnum):
    """Decision about a challenger."""

    PROMOTE = "promote"
    ROLL_BACK = "roll back"
    CONTINUE = "continue"


@dataclass(frozen=True)
class Evidence:
    """Measurements that the rules decide on; intervals are of challenger - baseline."""

    accuracy: Interval
    latency_ms: Interval
    error_rate: Interval
    baseline_error_rate: float
    """nan without requests."""
    blocks: int
    """Blocks of time with predictions, of the version that has fewer."""
    call_blocks: int
    """Blocks of time with requests, likewise."""
    instruments: int | None
    """Instruments with predictions, of the version that has fewer; None in a split by time."""


@dataclass(frozen=True)
class Decision:
    """Decision of the rules."""

    action: Action
    reason: str
    """The reason, with the numbers that decided."""
    numbers: Mapping[str, float | None]
    """All numbers that the rules use; None where one is not known."""


def decide(rules: Rules, evidence: Evidence) -> Decision:
    """Roll back if any rollback rule holds, else promote if all promotion rules hold, else continue."""
    if reasons := _rollback_reasons(rules, evidence):
        return Decision(Action.ROLL_BACK, "; ".join(reasons), _numbers(evidence))
    if missing := _missing_for_promotion(rules, evidence):
        return Decision(Action.CONTINUE, "; ".join(missing), _numbers(evidence))
    accuracy, latency = evidence.accuracy, evidence.latency_ms
    reason = (
        f"accuracy is up by {_points(accuracy)}, {_point(rules.promote_accuracy)} or more are required; "
        f"latency differs by {latency.difference:+.2f} ms, less than {rules.promote_latency_ms:g} are allowed"
    )
    return Decision(Action.PROMOTE, reason, _numbers(evidence))


def accuracy_promotes(baseline: Arm, challenger: Arm) -> NDArray[np.bool_]:
    """Return where accuracy alone calls for promotion by the default rules, for arms whose fields are arrays."""
    difference = np.asarray(challenger.mean - baseline.mean)
    is_certain = difference > accuracy_radius(baseline, challenger)
    return np.asarray(is_certain & (difference >= DEFAULT_RULES.promote_accuracy))


def accuracy_radius(baseline: Arm, challenger: Arm) -> NDArray[np.float64]:
    """Return the radius of the difference of two accuracies under the default rules, see `radius`."""
    rules = DEFAULT_RULES
    return radius(baseline, challenger, alpha=rules.alpha, tuned_for=rules.tuned_for, least=rules.least_predictions)


def _rollback_reasons(rules: Rules, evidence: Evidence) -> list[str]:
    reasons = []
    latency, errors, accuracy = evidence.latency_ms, evidence.error_rate, evidence.accuracy
    if evidence.call_blocks >= rules.least_rollback_blocks:
        if latency.difference > rules.rollback_latency_ms and latency.lower > 0:
            reasons.append(
                f"latency is up by {latency.difference:.2f} ms ({latency.lower:.2f} to {latency.upper:.2f}), "
                f"more than {rules.rollback_latency_ms:g}"
            )
        challenger_rate = evidence.baseline_error_rate + errors.difference
        if challenger_rate >= rules.rollback_error_ratio * evidence.baseline_error_rate and errors.lower > 0:
            reasons.append(
                f"{challenger_rate:.2%} of the challenger's requests failed, "
                f"{evidence.baseline_error_rate:.2%} of the baseline's: {rules.rollback_error_ratio:g} times "
                "as many or more"
            )
    down = accuracy.difference <= -rules.rollback_accuracy and accuracy.upper < 0
    if down and evidence.blocks >= rules.least_rollback_blocks:
        reasons.append(f"accuracy is down by {_points(accuracy)}, {_point(rules.rollback_accuracy)} or more")
    return reasons


def _missing_for_promotion(rules: Rules, evidence: Evidence) -> list[str]:
    missing = []
    accuracy, latency = evidence.accuracy, evidence.latency_ms
    if not math.isfinite(accuracy.radius):
        missing.append(
            f"{rules.least_predictions} scored predictions of each version, right and wrong ones, are needed"
        )
    elif not accuracy.difference >= rules.promote_accuracy:
        missing.append(f"accuracy differs by {_points(accuracy)}, at least {_point(rules.promote_accuracy)} up needed")
    elif not accuracy.lower > 0:
        missing.append(f"accuracy is up by {_points(accuracy)}, which may still be chance")
    if not math.isfinite(latency.radius):
        missing.append(f"{rules.least_requests} requests of each version are needed to know its latency")
    elif not latency.difference < rules.promote_latency_ms:
        missing.append(
            f"latency is up by {latency.difference:.2f} ms, less than {rules.promote_latency_ms:g} is needed"
        )
    if evidence.blocks < rules.least_blocks:
        missing.append(f"{evidence.blocks} of {rules.least_blocks} blocks of time")
    if evidence.instruments is not None and evidence.instruments < rules.least_instruments:
        missing.append(
            f"{evidence.instruments} of {rules.least_instruments} instruments with each version; with few "
            "instruments, split by time"
        )
    return missing


def _numbers(evidence: Evidence) -> dict[str, float | None]:
    numbers: dict[str, float | None] = {}
    for name in ("accuracy", "latency_ms", "error_rate"):
        interval: Interval = getattr(evidence, name)
        numbers |= {name: interval.difference, f"{name}_lower": interval.lower, f"{name}_upper": interval.upper}
    numbers |= {
        "baseline_error_rate": evidence.baseline_error_rate,
        "blocks": evidence.blocks,
        "call_blocks": evidence.call_blocks,
        "instruments": evidence.instruments,
    }
    return {name: value if value is not None and math.isfinite(value) else None for name, value in numbers.items()}


def _points(interval: Interval) -> str:
    return f"{100 * interval.difference:+.1f} points ({100 * interval.lower:+.1f} to {100 * interval.upper:+.1f})"


def _point(margin: float) -> str:
    return f"{100 * margin:g}"
