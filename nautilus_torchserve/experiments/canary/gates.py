"""Gates of a canary: limits for the challenger while it serves a share of the traffic beside the default version.

A canary checks its gates every second, and repeated checks see every accident of chance. The error and latency gates
therefore use bounds that hold at all times at once: a challenger is withdrawn only where such a bound proves it worse,
and passes only where its plain value is within the limit. What lies between is open.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from nautilus_torchserve.experiments.drift import stability
from nautilus_torchserve.traffic.records import CallTotals, bucket_latency_ms, percentile_ms
from nautilus_torchserve.user_error import InvalidArgument

GATES = 3
"""Error rate, p99 latency and drift."""


class Verdict(StrEnum):
    """Verdict of a gate so far."""

    HOLDS = "holds"
    """The value is within its limit."""
    OPEN = "open"
    """The value is beyond its limit, but so few calls prove nothing; or there are none yet."""
    BROKEN = "broken"
    """The value is beyond its limit, and not by chance."""


@dataclass(frozen=True)
class GateLimits:
    """Limits by which a challenger may be worse than the baseline."""

    error_rate: float = 0.01
    """Largest error rate above the baseline's: 0.01 is one request in a hundred."""
    p99_ratio: float = 1.5
    """Largest p99 latency as a multiple of the baseline's, ..."""
    p99_add_ms: float = 2.0
    """... plus this, milliseconds."""
    psi: float = 0.25
    """Largest population stability index of an output; `math.inf`: outputs are not compared."""
    not_compared: tuple[str, ...] = ("price", "sigma_bps")
    """Outputs that differ between instruments whatever the version: in a split by instrument they say nothing about
    drift."""
    false_alarm: float = 0.01
    """Largest probability that a challenger within its limits is withdrawn at any check of the whole canary; exact for
    independent errors and latencies, approximate for drift."""

    def __post_init__(self) -> None:
        if not (self.error_rate >= 0 and self.p99_ratio >= 1 and self.p99_add_ms >= 0 and self.psi > 0):
            raise InvalidArgument(f"expected error_rate and p99_add_ms >= 0, p99_ratio >= 1 and psi > 0, got {self}")
        if not 0 < self.false_alarm < 1:
            raise InvalidArgument(f"expected false_alarm in (0, 1), got {self.false_alarm}")

    def p99_allowed_ms(self, baseline_ms: float) -> float:
        """Return the largest p99 of the challenger, given the baseline's."""
        return baseline_ms * self.p99_ratio + self.p99_add_ms


@dataclass(frozen=True)
class GateResult:
    """Result of one gate at one check."""

    name: str
    """``error rate``, ``p99 latency`` or ``drift of OUTPUT``."""
    verdict: Verdict
    value: float | None
    """The challenger's error rate, its p99 latency in milliseconds, or the output's population stability index; None
    without responses."""
    detail: str
    """The values compared."""


def check_gates(
    baseline: CallTotals, challenger: CallTotals, limits: GateLimits, steps: int = 1
) -> tuple[GateResult, ...]:
    """Check all gates on the calls of both versions in the same time.

    Parameters
    ----------
    baseline, challenger : CallTotals
        Calls in one step of a canary.
    steps : int
        Steps of the canary: ``false_alarm`` is spread over them and the gates.
    """
    alpha = limits.false_alarm / (GATES * steps)
    gates = [_errors(baseline, challenger, limits, alpha), _latency(baseline, challenger, limits, alpha)]
    if not math.isinf(limits.psi):
        names = sorted({*baseline.outputs, *challenger.outputs} - {*limits.not_compared})
        gates += [_drift(name, baseline, challenger, limits, alpha) for name in names]
    return tuple(gates)


def rate_bounds(events: int, trials: int, alpha: float) -> tuple[float, float]:
    """Return bounds of a probability that hold at every number of trials at once, however often they are checked.

    With a uniform mixture over q, B(x+1, n-x+1) / (p^x (1-p)^(n-x)) is a martingale of mean 1 under p; by Ville's
    inequality it ever reaches 1/alpha with probability alpha at most (Robbins 1970, "Statistical methods related to
    the law of the iterated logarithm"). The bounds enclose every p for which it has not.

    Parameters
    ----------
    events, trials : int
        Events in so many independent trials.
    alpha : float
        Probability that the bounds miss p at any time.
    """
    if not trials:
        return 0.0, 1.0
    # They take 0.6 s to import, and a rollback by the same command must not wait for them.
    from scipy.optimize import brentq
    from scipy.special import betaln

    mixture = float(betaln(events + 1, trials - events + 1))

    def beyond(p: float) -> float:
        return mixture - events * math.log(p) - (trials - events) * math.log1p(-p) + math.log(alpha)

    edge = 1e-15
    rate = min(max(events / trials, edge), 1 - edge)
    lowest, highest = edge * rate, 1 - edge  # bounds beyond these are 0 and 1
    lower = brentq(beyond, lowest, rate) if events and beyond(lowest) > 0 else 0.0
    upper = brentq(beyond, rate, highest) if events < trials and beyond(highest) > 0 else 1.0
    return lower, upper


def _proven_more(challenger: tuple[int, int], baseline: tuple[int, int], by: float, alpha: float) -> bool:
    """Return whether the challenger's rate of (events, trials) exceeds the baseline's by ``by``, beyond chance."""
    least, _ = rate_bounds(*challenger, alpha / 2)
    _, most = rate_bounds(*baseline, alpha / 2)
    return least > most + by


def _verdict(broken: bool, within: bool) -> Verdict:
    return Verdict.BROKEN if broken else Verdict.HOLDS if within else Verdict.OPEN


def _errors(baseline: CallTotals, challenger: CallTotals, limits: GateLimits, alpha: float) -> GateResult:
    detail = (
        f"{challenger.errors} errors in {challenger.requests} calls ({challenger.error_rate:.2%}), the baseline "
        f"{baseline.errors} in {baseline.requests} ({baseline.error_rate:.2%}), "
        f"{limits.error_rate:.2%} more allowed"
    )
    counts = (challenger.errors, challenger.requests), (baseline.errors, baseline.requests)
    broken = _proven_more(*counts, limits.error_rate, alpha)
    within = challenger.error_rate <= baseline.error_rate + limits.error_rate
    verdict = _verdict(broken, within and challenger.requests > 0 and baseline.requests > 0)
    return GateResult("error rate", verdict, challenger.error_rate, detail)


def _latency(baseline: CallTotals, challenger: CallTotals, limits: GateLimits, alpha: float) -> GateResult:
    """Compare the share of calls beyond the allowed latency with the share of the baseline's beyond its p99."""
    responses, baseline_responses = challenger.latencies.total(), baseline.latencies.total()
    if not responses or not baseline_responses:
        detail = f"{responses} responses, the baseline {baseline_responses}"
        return GateResult("p99 latency", Verdict.OPEN, None, detail)
    p99_ms, baseline_ms = (percentile_ms(totals.latencies, 0.99) for totals in (challenger, baseline))
    allowed_ms = limits.p99_allowed_ms(baseline_ms)
    slow = _slower(challenger.latencies, allowed_ms)
    detail = (
        f"p99 {p99_ms:.2f} ms, the baseline's {baseline_ms:.2f} ms, {allowed_ms:.2f} ms allowed; "
        f"{slow} of {responses} responses took longer"
    )
    counts = (slow, responses), (_slower(baseline.latencies, baseline_ms), baseline_responses)
    verdict = _verdict(_proven_more(*counts, 0.0, alpha), p99_ms <= allowed_ms)
    return GateResult("p99 latency", verdict, p99_ms, detail)


def _slower(latencies: Mapping[int, int], limit_ms: float) -> int:
    """Count the responses that certainly took longer: those whose bucket begins at the limit or above."""
    return sum(count for bucket, count in latencies.items() if bucket_latency_ms(bucket - 1) >= limit_ms)


def _drift(name: str, baseline: CallTotals, challenger: CallTotals, limits: GateLimits, alpha: float) -> GateResult:
    gate = f"drift of {name}"
    before, after = baseline.outputs.get(name, Counter()), challenger.outputs.get(name, Counter())
    if not before or not after:
        lost = baseline.latencies and challenger.latencies  # responses, but without this output
        detail = f"in {after.total()} rows, of the baseline in {before.total()}"
        return GateResult(gate, Verdict.BROKEN if lost else Verdict.OPEN, None, detail)
    psi = stability(before, after)
    chance = psi.chance(alpha)
    detail = (
        f"PSI {psi.index:.3f} over {psi.bins} bins, {limits.psi:g} allowed, {chance:.3f} may be chance; "
        f"{psi.rows_actual} rows, the baseline {psi.rows_expected}"
    )
    return GateResult(gate, _verdict(psi.index > limits.psi + chance, psi.index <= limits.psi), psi.index, detail)
