"""Repeated checks: the confidence sequence holds where Welch's test, checked as often, does not."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from nautilus_torchserve.experiments.ab.dependence import (
    by_blocks,
    by_blocks_and_instruments,
    dependent_instruments,
    dependent_slices,
)
from nautilus_torchserve.experiments.ab.metrics import ClusterSums
from nautilus_torchserve.experiments.ab.sequential_tests import Arm, confidence_sequence, radius, welch
from nautilus_torchserve.experiments.ab.simulation import better_version, equal_versions

ALPHA = 0.05


def arm(count: float, mean: float, variance: float | None = None) -> Arm:
    """Return an arm of independent 0/1 outcomes, or of the given variance."""
    spread = mean * (1 - mean) * count / (count - 1) if variance is None else variance
    return Arm(count, mean, spread, spread)


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("accuracy", [0.4, 0.55, 0.95, 0.99])
def test_equal_versions_seldom_differ_however_often_they_are_checked(accuracy: float, share: float) -> None:
    simulated = equal_versions(accuracy, share, experiments=600, observations=2_000)

    assert simulated.promoted <= simulated.excluded <= ALPHA
    assert simulated.welch_excluded > 3 * ALPHA  # the simulation would see it


@pytest.mark.parametrize(("accuracy", "gain", "share"), [(0.55, 0.05, 0.5), (0.55, -0.1, 0.1), (0.9, 0.08, 0.1)])
def test_a_true_difference_is_covered_at_every_look(accuracy: float, gain: float, share: float) -> None:
    simulated = equal_versions(accuracy, share, experiments=600, observations=2_000, gain=gain)

    assert simulated.excluded <= ALPHA
    assert simulated.welch_excluded > 3 * ALPHA


def test_a_better_challenger_is_found_the_sooner_the_better_it_is() -> None:
    by_two, by_five, by_ten = (better_version(0.55, gain, 0.5, experiments=200) for gain in (0.02, 0.05, 0.1))

    assert by_ten.promoted == by_five.promoted == 1.0
    assert by_two.promoted > 0.8
    assert by_ten.half < by_five.half < by_two.half  # type: ignore[operator]
    assert 1_500 < by_five.half < 6_000  # type: ignore[operator]


@given(
    count=st.floats(200, 1e6), mean=st.floats(0.01, 0.99), tuned_for=st.floats(100, 1e6), alpha=st.floats(0.001, 0.5)
)
def test_the_radius_is_the_papers_with_equal_arms(count: float, mean: float, tuned_for: float, alpha: float) -> None:
    both = arm(count / 2, mean)
    # x = t rho^2 at the size that it is tuned for: the fixed point of x = log(x + 1) - 2 log(alpha)
    x = 10.0
    for _ in range(200):
        x = math.log(x + 1) - 2 * math.log(alpha)
    rho_squared = x / tuned_for
    sigma = math.sqrt(count * (both.variance + both.variance) / (count / 2))
    term = count * rho_squared + 1

    width = radius(both, both, alpha=alpha, tuned_for=tuned_for)

    expected = sigma * math.sqrt(2 * term / (count**2 * rho_squared) * math.log(math.sqrt(term) / alpha))
    assert width == pytest.approx(expected, rel=1e-9)


@given(tuned_for=st.floats(50, 1e6), other=st.floats(50, 1e6))
def test_the_interval_is_narrowest_where_it_is_tuned_for(tuned_for: float, other: float) -> None:
    both = arm(tuned_for / 2, 0.55)

    assert radius(both, both, tuned_for=tuned_for, least=1) <= radius(both, both, tuned_for=other, least=1) * (1 + 1e-9)


def test_a_flood_of_baseline_records_is_not_taken_for_information() -> None:
    some, flood = (radius(arm(count, 0.55), arm(1_000, 0.55)) for count in (1e6, 1e9))

    assert flood == pytest.approx(some, rel=2e-3)


def test_the_order_in_which_arms_are_filled_does_not_matter() -> None:
    """A slice of one version after a slice of the other, checked after every observation."""
    random, slice_size = np.random.default_rng(5), 250
    mine = np.arange(2_000) // slice_size % 2 == 1
    right = random.random((600, mine.size)) < 0.55
    counts = [np.cumsum(is_counted) for is_counted in (~mine, mine)]
    with np.errstate(all="ignore"):
        arms = [
            arm(count, np.cumsum(right * each, axis=1) / count)  # type: ignore[arg-type]
            for count, each in zip(counts, (~mine, mine), strict=True)
        ]
        apart = np.abs(arms[1].mean - arms[0].mean)

    excluded = (apart > radius(*arms)).any(axis=1).mean()

    assert excluded <= ALPHA


def test_the_interval_is_infinite_before_the_burn_in_and_without_variance() -> None:
    assert confidence_sequence(arm(99, 0.2), arm(5_000, 0.9)).radius == math.inf
    assert confidence_sequence(arm(100, 0.2), arm(5_000, 0.9)).lower > 0
    assert confidence_sequence(arm(5_000, 1.0), arm(5_000, 1.0)).radius == math.inf
    assert confidence_sequence(Arm(0, math.nan, math.nan, math.nan), arm(5_000, 1.0)).radius == math.inf


def test_always_wrong_against_always_right_is_a_difference() -> None:
    sequence = confidence_sequence(arm(500, 1.0), arm(500, 0.0))

    assert sequence.upper < 0
    assert sequence.difference == -1.0


def test_a_small_arm_without_failures_has_no_narrow_interval() -> None:
    spotless, usual = arm(100, 1.0), arm(900, 0.95)

    assert confidence_sequence(usual, spotless).lower < 0
    assert confidence_sequence(usual, spotless).radius > 3 * math.sqrt(0.0475 / 100)


def test_dependent_outcomes_count_as_fewer_independent_ones() -> None:
    fewer, dependent = arm(500, 0.55, 0.2475), Arm(2_000, 0.55, 0.2475, 4 * 0.2475)

    assert radius(dependent, dependent) == pytest.approx(radius(fewer, fewer))


values = arrays(np.float64, st.integers(2, 40), elements=st.floats(-100, 100).map(lambda value: round(value, 3)))


@given(baseline=values, challenger=values)
def test_welch_is_scipys(baseline: np.ndarray, challenger: np.ndarray) -> None:
    assume(min(baseline.std(), challenger.std()) > 1e-3)
    expected = stats.ttest_ind(challenger, baseline, equal_var=False)
    interval = expected.confidence_interval(0.95)
    arms = [arm(len(values), values.mean(), values.var(ddof=1)) for values in (baseline, challenger)]

    p, welch_interval = welch(*arms)

    assert p == pytest.approx(expected.pvalue, abs=1e-9)
    assert welch_interval.lower == pytest.approx(interval.low, abs=1e-6)
    assert welch_interval.upper == pytest.approx(interval.high, abs=1e-6)


def test_welch_gives_no_result_for_too_few_values_or_no_spread() -> None:
    assert math.isnan(welch(arm(2, 0.5), Arm(1, 1.0, 0.0, 0.0))[0])
    assert math.isnan(welch(arm(50, 1.0), arm(60, 1.0))[0])


clustered = st.lists(
    st.tuples(st.floats(-10, 10).map(lambda value: round(value, 3)), st.integers(0, 4), st.sampled_from("ABC")),
    min_size=2,
    max_size=40,
)


@given(observations=clustered, by_instrument=st.booleans())
def test_the_variance_is_the_largest_of_all_clusterings(
    observations: list[tuple[float, int, str]], by_instrument: bool
) -> None:
    tally, values = ClusterSums(), np.array([value for value, *_ in observations])
    for value, block, instrument in observations:
        tally.observe(value, block, instrument)
    residuals, largest = values - values.mean(), values.var(ddof=1)
    for labels in (
        [block for _, block, _ in observations],
        *([[name for *_, name in observations]] if by_instrument else []),
    ):
        same = np.array(labels)[:, None] == np.array(labels)[None, :]  # the sandwich, pair by pair
        clusters = len(set(labels))
        if clusters > 1:
            pairs = (residuals[:, None] * residuals[None, :] * same).sum()
            largest = max(largest, clusters / (clusters - 1) * pairs / len(values))

    arm_found = tally.arm(by_instrument)

    assert arm_found.mean == pytest.approx(values.mean(), abs=1e-9)
    assert arm_found.variance == pytest.approx(values.var(ddof=1), abs=1e-7)
    assert arm_found.long_run_variance == pytest.approx(largest, abs=1e-6)


def test_the_simulation_clusters_as_a_tally_does() -> None:
    random = np.random.default_rng(3)
    right = random.integers(0, 6, (1, 7, 4))  # of 5 predictions: 7 blocks, 4 instruments
    tally, by_time = ClusterSums(), ClusterSums()
    for block in range(7):
        for instrument in range(4):
            for number in range(5):
                tally.observe(float(number < right[0, block, instrument]), block, str(instrument))
        wins = int(np.minimum(right[0, block], 5).sum())
        by_time.add(20, wins, wins, block)
    right = np.minimum(right, 5)

    of_both = by_blocks_and_instruments(right, predictions=5)
    of_blocks = by_blocks(right.sum(axis=2), np.full((1, 7), 20))

    assert np.asarray(of_both.long_run_variance)[0, -1] == pytest.approx(tally.arm(True).long_run_variance)
    assert np.asarray(of_blocks.long_run_variance)[0, -1] == pytest.approx(by_time.arm(False).long_run_variance)


def test_easy_slices_make_no_better_version() -> None:
    simulated = dependent_slices(experiments=300, slices=150)

    assert simulated.promoted <= ALPHA
    assert simulated.one_by_one > 2 * ALPHA


@pytest.mark.parametrize(("instruments", "challengers"), [(20, 4), (6, 3)])
def test_easy_instruments_make_no_better_version(instruments: int, challengers: int) -> None:
    simulated = dependent_instruments(experiments=300, instruments=instruments, challengers=challengers, blocks=60)

    assert simulated.promoted <= ALPHA
    assert simulated.one_by_one > 1.5 * ALPHA
