"""What a challenger is held to while it answers a share of the traffic, beside the version that serves.

A canary looks every second, and who looks often sees every accident of chance. The error and latency gates
therefore use bounds that hold at all times at once; a challenger is withdrawn only when such a bound proves
it worse, and passes only when its plain figure is within the limit. What lies between is left open.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from nautilus_torchserve.experiments.calls import Calls, percentile_ms
from nautilus_torchserve.experiments.drift import stability
from nautilus_torchserve.traffic.records import bucket_latency_ms
from nautilus_torchserve.user_error import InvalidArgument

GATES = 3
"""Error rate, p99 latency and drift."""


class Verdict(StrEnum):
    """What a gate says so far."""

    HOLDS = "holds"
    """The figure is within its limit."""
    OPEN = "open"
    """The figure is beyond its limit, but so few calls prove nothing; or there are none yet."""
    BROKEN = "broken"
    """The figure is beyond its limit, and not by chance."""


@dataclass(frozen=True)
class GateLimits:
    """How much worse than the baseline a challenger may be."""

    error_rate: float = 0.01
    """Its error rate may exceed the baseline's by this much: 0.01 is one request in a hundred."""
    p99_ratio: float = 1.5
    """Its p99 latency may be this many times the baseline's, and ..."""
    p99_add_ms: float = 2.0
    """... this much more, milliseconds."""
    psi: float = 0.25
    """Largest population stability index of an output; `math.inf`: outputs are not compared."""
    not_compared: tuple[str, ...] = ("price", "sigma_bps")
    """Outputs that differ from instrument to instrument whatever the version: with a split by instrument they say
    nothing about drift."""
    false_alarm: float = 0.01
    """Largest probability that a challenger which is no worse than its limits is withdrawn at any look of the whole
    canary; exact for errors and latencies that come independently, rough for drift."""

    def __post_init__(self) -> None:
        if not (self.error_rate >= 0 and self.p99_ratio >= 1 and self.p99_add_ms >= 0 and self.psi > 0):
            raise InvalidArgument(f"error_rate and p99_add_ms >= 0, p99_ratio >= 1 and psi > 0 expected, was {self}")
        if not 0 < self.false_alarm < 1:
            raise InvalidArgument(f"false_alarm in (0, 1) expected, was {self.false_alarm}")

    def p99_allowed_ms(self, baseline_ms: float) -> float:
        """What the challenger's p99 may be, given the baseline's."""
        return baseline_ms * self.p99_ratio + self.p99_add_ms


@dataclass(frozen=True)
class Gate:
    """One gate at one look."""

    name: str
    """``error rate``, ``p99 latency`` or ``drift of OUTPUT``."""
    verdict: Verdict
    figure: float | None
    """The challenger's error rate, its p99 latency in milliseconds, or the output's population stability index; None
    without answers."""
    says: str
    """What it compares, in words."""


def judge(baseline: Calls, challenger: Calls, limits: GateLimits, steps: int = 1) -> tuple[Gate, ...]:
    """All gates on what both versions did in the same time.

    Parameters
    ----------
    baseline, challenger : Calls
        Of one step of a canary.
    steps : int
        How many steps the canary has: ``false_alarm`` is spread over them and the gates.
    """
    alpha = limits.false_alarm / (GATES * steps)
    drift = (
        []
        if math.isinf(limits.psi)
        else [
            _drift(name, baseline, challenger, limits, alpha)
            for name in sorted({*baseline.outputs, *challenger.outputs} - {*limits.not_compared})
        ]
    )
    return (_errors(baseline, challenger, limits, alpha), _latency(baseline, challenger, limits, alpha), *drift)


def rate_bounds(events: int, trials: int, alpha: float) -> tuple[float, float]:
    """Bounds of a probability that hold at every number of trials at once, however often one looks.

    With a uniform mixture over q, B(x+1, n-x+1) / (p^x (1-p)^(n-x)) is a martingale of mean 1 under p; by Ville's
    inequality it ever reaches 1/alpha with probability alpha at most (Robbins 1970, "Statistical methods related to
    the law of the iterated logarithm"). The bounds enclose every p for which it has not.

    Parameters
    ----------
    events, trials : int
        Of ``trials`` independent ones, ``events`` came out so.
    alpha : float
        Probability that the bounds miss p at any time.
    """
    if not trials:
        return 0.0, 1.0
    # They take 0.6 s to import, and a rollback by the same script must not wait for them.
    from scipy.optimize import brentq
    from scipy.special import betaln

    mixture = float(betaln(events + 1, trials - events + 1))

    def beyond(p: float) -> float:
        return mixture - events * math.log(p) - (trials - events) * math.log1p(-p) + math.log(alpha)

    edge = 1e-15
    rate = min(max(events / trials, edge), 1 - edge)
    lowest, highest = edge * rate, 1 - edge  # a bound still beyond them is none
    lower = brentq(beyond, lowest, rate) if events and beyond(lowest) > 0 else 0.0
    upper = brentq(beyond, rate, highest) if events < trials and beyond(highest) > 0 else 1.0
    return lower, upper


def _proven_more(challenger: tuple[int, int], baseline: tuple[int, int], by: float, alpha: float) -> bool:
    """Whether the challenger's share of (events, trials) is the baseline's and ``by`` more, beyond chance."""
    least, _ = rate_bounds(*challenger, alpha / 2)
    _, most = rate_bounds(*baseline, alpha / 2)
    return least > most + by


def _errors(baseline: Calls, challenger: Calls, limits: GateLimits, alpha: float) -> Gate:
    says = (
        f"{challenger.errors} errors in {challenger.requests} calls ({challenger.error_rate:.2%}), the baseline "
        f"{baseline.errors} in {baseline.requests} ({baseline.error_rate:.2%}), "
        f"{limits.error_rate:.2%} more allowed"
    )
    figures = (challenger.errors, challenger.requests), (baseline.errors, baseline.requests)
    if _proven_more(*figures, limits.error_rate, alpha):
        return Gate("error rate", Verdict.BROKEN, challenger.error_rate, says)
    within = (
        challenger.requests and baseline.requests and (challenger.error_rate <= baseline.error_rate + limits.error_rate)
    )
    return Gate("error rate", Verdict.HOLDS if within else Verdict.OPEN, challenger.error_rate, says)


def _latency(baseline: Calls, challenger: Calls, limits: GateLimits, alpha: float) -> Gate:
    """Whether a larger share of calls takes longer than allowed than takes the baseline longer than its p99."""
    answered, answered_before = challenger.latencies.total(), baseline.latencies.total()
    if not answered or not answered_before:
        return Gate("p99 latency", Verdict.OPEN, None, f"{answered} answers, the baseline {answered_before}")
    p99_ms, before_ms = (percentile_ms(each.latencies, 0.99) for each in (challenger, baseline))
    allowed_ms = limits.p99_allowed_ms(before_ms)
    slow = _slower(challenger.latencies, allowed_ms)
    says = (
        f"p99 {p99_ms:.2f} ms, the baseline's {before_ms:.2f} ms, {allowed_ms:.2f} ms allowed; "
        f"{slow} of {answered} answers took longer"
    )
    if _proven_more((slow, answered), (_slower(baseline.latencies, before_ms), answered_before), 0.0, alpha):
        return Gate("p99 latency", Verdict.BROKEN, p99_ms, says)
    return Gate("p99 latency", Verdict.HOLDS if p99_ms <= allowed_ms else Verdict.OPEN, p99_ms, says)


def _slower(latencies: Mapping[int, int], limit_ms: float) -> int:
    """Answers that certainly took longer: whose bucket begins at the limit or above."""
    return sum(count for bucket, count in latencies.items() if bucket_latency_ms(bucket - 1) >= limit_ms)


def _drift(name: str, baseline: Calls, challenger: Calls, limits: GateLimits, alpha: float) -> Gate:
    gate = f"drift of {name}"
    before, after = baseline.outputs.get(name, Counter()), challenger.outputs.get(name, Counter())
    if not before or not after:
        asked = baseline.latencies and challenger.latencies  # answered, but without this output
        says = f"in {after.total()} rows, of the baseline in {before.total()}"
        return Gate(gate, Verdict.BROKEN if asked else Verdict.OPEN, None, says)
    found = stability(before, after)
    chance = found.chance(alpha)
    says = (
        f"PSI {found.index:.3f} over {found.bins} bins, {limits.psi:g} allowed, {chance:.3f} may be chance; "
        f"{found.rows_actual} rows, the baseline {found.rows_expected}"
    )
    if found.index > limits.psi + chance:
        return Gate(gate, Verdict.BROKEN, found.index, says)
    return Gate(gate, Verdict.HOLDS if found.index <= limits.psi else Verdict.OPEN, found.index, says)
