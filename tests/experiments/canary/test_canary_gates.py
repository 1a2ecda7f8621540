"""Gates of a canary: chance breaks none, harm breaks them fast, the order of windows does not matter."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from nautilus_torchserve.experiments.canary.gates import GateLimits, GateResult, Verdict, check_gates, rate_bounds
from nautilus_torchserve.experiments.drift import LEAST_SHARE, stability
from nautilus_torchserve.traffic.records import CallTotals, CallWindow, latency_bucket, output_bucket, percentile_ms

HOLDS, OPEN, BROKEN = Verdict.HOLDS, Verdict.OPEN, Verdict.BROKEN
LIMITS = GateLimits()


def window(
    requests: int = 0, errors: int = 0, latencies_ms: Sequence[float] = (), buy: Sequence[float] = ()
) -> CallWindow:
    latencies = Counter(map(latency_bucket, latencies_ms))
    return CallWindow(
        "split",
        "tick",
        "1.0",
        "router",
        0,
        requests,
        errors,
        sum(latencies_ms),
        0.0,
        latencies,
        {"buy": Counter(map(output_bucket, buy))} if len(buy) else {},
    )


def totals(windows: Sequence[CallWindow]) -> CallTotals:
    sum_of_windows = CallTotals()
    for window in windows:
        sum_of_windows.add(window)
    return sum_of_windows


def arm(
    requests: int = 0, errors: int = 0, latencies_ms: Sequence[float] = (), buy: Sequence[float] = ()
) -> CallTotals:
    return totals([window(requests, errors, latencies_ms, buy)])


def gate(gates: Sequence[GateResult], name: str) -> GateResult:
    return next(gate for gate in gates if gate.name == name)


@pytest.mark.parametrize(
    ("errors", "calls", "baseline_errors", "baseline_calls", "verdict"),
    [
        (0, 0, 0, 1000, OPEN),
        (0, 100, 0, 0, OPEN),
        (0, 100, 0, 1000, HOLDS),
        (1, 200, 0, 1000, HOLDS),
        (1, 20, 0, 1000, OPEN),  # 5 %, and yet one accident
        (3, 100, 0, 1000, OPEN),
        (5, 5, 0, 200, BROKEN),
        (8, 8, 0, 100, BROKEN),
        (60, 2000, 10, 10000, BROKEN),
        (400, 50_000, 10, 100_000, HOLDS),  # certainly worse, by less than is allowed
        (100, 100, 500, 500, HOLDS),  # the server is down, for both
        (300, 1000, 1500, 5000, HOLDS),
    ],
)
def test_error_gate(errors: int, calls: int, baseline_errors: int, baseline_calls: int, verdict: Verdict) -> None:
    result = gate(check_gates(arm(baseline_calls, baseline_errors), arm(calls, errors), LIMITS, steps=4), "error rate")

    assert result.verdict is verdict
    assert f"{errors} errors in {calls} calls" in result.detail


@pytest.mark.parametrize(
    ("latencies_ms", "baseline_ms", "verdict"),
    [
        ([], [1.0] * 500, OPEN),
        ([1.0] * 200, [1.0] * 500, HOLDS),
        ([3.0] * 200, [1.0] * 500, HOLDS),  # 1.5 x 1 ms + 2 ms
        ([1.0] * 198 + [50.0] * 2, [1.0] * 500, HOLDS),
        ([1.0] * 195 + [50.0] * 5, [1.0] * 500, OPEN),  # of 200 calls the five slowest: not beyond chance
        ([4.0] * 20, [1.0] * 500, BROKEN),
        ([1.0] * 150 + [30.0] * 50, [1.0] * 500, BROKEN),
        ([30.0] * 200, [1.0] * 480 + [30.0] * 20, HOLDS),  # the baseline's p99 is no better
        ([200.0] * 200, [100.0] * 500, BROKEN),
        ([140.0] * 200, [100.0] * 500, HOLDS),
    ],
)
def test_latency_gate(latencies_ms: list[float], baseline_ms: list[float], verdict: Verdict) -> None:
    baseline, challenger = (arm(len(latencies), 0, latencies) for latencies in (baseline_ms, latencies_ms))

    assert gate(check_gates(baseline, challenger, LIMITS, steps=4), "p99 latency").verdict is verdict


def test_drift_gate_sees_other_outputs_and_no_accidents() -> None:
    random = np.random.default_rng(5)
    before, same = random.normal(0.33, 0.1, 5000), random.normal(0.33, 0.1, 100)
    moved, constant = random.normal(0.55, 0.1, 100), np.full(100, 0.9)

    def verdict(outputs: np.ndarray, limits: GateLimits = LIMITS) -> Verdict:
        gates = check_gates(arm(5000, 0, [1.0] * 5000, before), arm(100, 0, [1.0] * 100, outputs), limits, steps=4)
        return gate(gates, "drift of buy").verdict

    assert verdict(same) is HOLDS
    assert verdict(moved) is BROKEN
    assert verdict(constant) is BROKEN
    assert verdict(moved[:4]) is OPEN  # four rows prove nothing
    assert verdict(moved, GateLimits(psi=100.0)) is HOLDS


@pytest.mark.parametrize(("before", "after"), [(0.2, 0.8), (0.8, 0.2)])
def test_constant_output_that_moves_is_drift(before: float, after: float) -> None:
    """One bucket would be one bin, in which all rows are before and after."""
    baseline, challenger = arm(500, 0, [1.0] * 500, [before] * 500), arm(500, 0, [1.0] * 500, [after] * 500)

    assert gate(check_gates(baseline, challenger, LIMITS), "drift of buy").verdict is BROKEN
    assert gate(check_gates(baseline, baseline, LIMITS), "drift of buy").verdict is HOLDS


def test_lost_output_is_drift() -> None:
    baseline, challenger = arm(500, 0, [1.0] * 500, [0.2] * 500), arm(500, 0, [1.0] * 500)

    assert gate(check_gates(baseline, challenger, LIMITS), "drift of buy").verdict is BROKEN
    assert gate(check_gates(baseline, arm(), LIMITS), "drift of buy").verdict is OPEN


def test_outputs_that_are_not_compared_have_no_gate() -> None:
    both = arm(9, 0, [1.0] * 9, [0.2] * 9)

    assert [gate.name for gate in check_gates(both, both, LIMITS)] == ["error rate", "p99 latency", "drift of buy"]
    for limits in (GateLimits(psi=math.inf), GateLimits(not_compared=("buy",))):
        assert [gate.name for gate in check_gates(both, both, limits)] == ["error rate", "p99 latency"]


windows = st.lists(
    st.builds(
        window,
        st.integers(5, 50),
        st.integers(0, 5),
        st.lists(st.floats(0.01, 1000), max_size=20),
        st.lists(st.floats(-5, 5), max_size=20),
    ),
    max_size=8,
)


@given(windows, windows, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_order_of_windows_changes_nothing(baseline: list, challenger: list, random: object) -> None:
    before = check_gates(totals(baseline), totals(challenger), LIMITS)
    random.shuffle(baseline)  # type: ignore[attr-defined]
    random.shuffle(challenger)  # type: ignore[attr-defined]

    assert check_gates(totals(baseline), totals(challenger), LIMITS) == before


@given(st.lists(st.floats(0.01, 5000), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_percentile_is_numpys_within_a_bucket(latencies_ms: list[float], share: float) -> None:
    percentile = percentile_ms(Counter(map(latency_bucket, latencies_ms)), share)
    exact = float(np.quantile(latencies_ms, share, method="inverted_cdf"))

    assert exact * (1 - 1e-9) <= percentile <= exact * 1.05 * (1 + 1e-9)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(1e-5, 0.5))
def test_rate_bounds_solve_robbins_equation(counted: tuple[int, int], alpha: float) -> None:
    """The mixture of all rates gives each count the probability 1 / (n + 1)."""
    events, trials = counted
    lower, upper = rate_bounds(events, trials, alpha)

    assert lower <= events / trials <= upper
    for bound in (lower, upper):
        if 1e-6 < bound < 1 - 1e-6:
            assert binom.pmf(events, trials, bound) * (trials + 1) == pytest.approx(alpha, rel=1e-3)


def test_bounds_of_one_trial_or_of_no_risk_at_all_are_none() -> None:
    assert rate_bounds(0, 0, 0.01) == (0.0, 1.0)
    for events in (0, 1):
        assert rate_bounds(events, 1, 1e-300) == (0.0, 1.0)


def test_repeated_checks_withdraw_no_equal_challenger() -> None:
    """At a false alarm of 10 % for one gate and step, of 200 equal challengers with 5 % errors at most 20."""
    random = np.random.default_rng(3)
    limits = GateLimits(error_rate=0.0, false_alarm=0.3)
    withdrawn = 0
    for _ in range(200):
        errors = random.binomial(10, 0.05, (40, 2)).cumsum(axis=0)  # after every ten calls of each
        withdrawn += any(
            gate(check_gates(arm(calls, int(b)), arm(calls, int(c)), limits), "error rate").verdict is BROKEN
            for calls, (b, c) in zip(range(10, 401, 10), errors, strict=True)
        )

    assert withdrawn <= 20


def test_challenger_that_always_fails_is_withdrawn_within_seven_calls() -> None:
    for baseline_calls in (60, 600, 6000):
        verdicts = [
            gate(check_gates(arm(baseline_calls), arm(calls, calls), LIMITS, steps=4), "error rate").verdict
            for calls in range(1, 8)
        ]
        assert verdicts[0] is OPEN
        assert verdicts[-1] is BROKEN


@given(st.lists(st.integers(0, 70), min_size=2, max_size=12), st.lists(st.integers(0, 200), min_size=2, max_size=12))
def test_index_is_numpys_where_no_buckets_are_merged(before: list[int], after: list[int]) -> None:
    width = min(len(before), len(after))
    before, after = [100 + count for count in before[:width]], after[:width]  # at least 5 % in each of 12
    after[0] += 1

    drift = stability(dict(enumerate(before)), dict(enumerate(after)))

    e, a = (np.array(counts) + 0.5 for counts in (before, after))
    e, a = e / e.sum(), a / a.sum()
    assert drift.index == pytest.approx(float(((a - e) * np.log(a / e)).sum()), abs=1e-12)
    assert drift.bins == width


@given(st.dictionaries(st.integers(-100, 100), st.integers(1, 100), min_size=1), st.integers(1, 50))
def test_equal_distributions_have_an_index_of_zero(counts: dict[int, int], times: int) -> None:
    assert stability(counts, counts).index == 0
    more = stability(counts, {bucket: count * times for bucket, count in counts.items()})
    assert 0 <= more.index < 0.05
    assert more.bins <= 1 / LEAST_SHARE


@given(
    st.dictionaries(st.integers(-100, 100), st.integers(1, 100), min_size=1),
    st.dictionaries(st.integers(-100, 100), st.integers(1, 100), min_size=1),
)
def test_index_is_never_negative_and_no_row_is_lost(before: dict[int, int], after: dict[int, int]) -> None:
    drift = stability(before, after)

    assert drift.index >= 0
    assert (drift.rows_expected, drift.rows_actual) == (sum(before.values()), sum(after.values()))


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5, 1.0])
def test_index_of_shifted_normal_samples_is_the_shift_squared(shift: float) -> None:
    """Jeffreys' divergence of two normal distributions of variance 1; bins lose a little of it."""
    random = np.random.default_rng(11)
    before, after = (Counter(map(output_bucket, random.normal(mean, 1, 20_000).tolist())) for mean in (0.0, shift))

    assert stability(before, after).index == pytest.approx(shift**2, rel=0.12, abs=0.01)


def test_chance_is_exceeded_at_its_nominal_rate() -> None:
    random = np.random.default_rng(2)
    counts = random.multinomial(3000, [0.25] * 4, 2000), random.multinomial(300, [0.25] * 4, 2000)
    drifts = [stability(*(dict(enumerate(bins.tolist())) for bins in pair)) for pair in zip(*counts, strict=True)]

    assert 0.035 < np.mean([drift.index > drift.chance(0.05) for drift in drifts]) < 0.065


@pytest.mark.parametrize(
    "wrong", [{"error_rate": -0.1}, {"p99_ratio": 0.5}, {"p99_add_ms": -1.0}, {"psi": 0.0}, {"false_alarm": 1.0}]
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected "):
        GateLimits(**wrong)
