import math

import numpy as np
import pandas as pd
import pytest

from nautilus_torchserve.scores.sharpe import (
    PERIODS,
    Sharpe,
    deflated_best,
    deflated_sharpe,
    expected_maximum,
    sharpe_of,
)

DAILY = math.sqrt(250)


def test_deflated_sharpe_matches_the_papers_example() -> None:
    """Bailey & Lopez de Prado 2014: 100 trials, annual ratio 2.5, variance of ratios 1/2, five years of days."""
    deviation = math.sqrt(0.5) / DAILY

    assert expected_maximum(100, deviation) == pytest.approx(0.1132, abs=5e-5)
    best = Sharpe(2.5 / DAILY, skewness=-3, kurtosis=10, periods=1250)
    assert deflated_sharpe(best, 100, deviation) == pytest.approx(0.9004, abs=5e-5)


def test_expected_maximum_is_that_of_normal_draws() -> None:
    drawn = np.random.default_rng(1).normal(0, 0.3, (40_000, 50)).max(axis=1)

    assert expected_maximum(50, 0.3) == pytest.approx(drawn.mean(), rel=0.02)


def curve(gains: np.ndarray) -> np.ndarray:
    return 10_000 + np.concatenate([[0.0], np.cumsum(gains)])


def test_sharpe_is_mean_over_deviation_of_gains() -> None:
    gains = np.random.default_rng(2).gamma(2.0, 1.0, PERIODS) - 1.9

    result = sharpe_of(curve(gains))

    assert result is not None
    assert result.ratio == pytest.approx(gains.mean() / gains.std(), rel=1e-9)
    assert result.skewness == pytest.approx(pd.Series(gains).skew(), rel=0.02)
    assert result.kurtosis == pytest.approx(pd.Series(gains).kurt() + 3, rel=0.05)
    assert result.periods == PERIODS


def test_equity_that_never_moves_has_no_sharpe() -> None:
    assert sharpe_of(curve(np.zeros(PERIODS))) is None


def test_more_trials_lower_the_deflated_sharpe() -> None:
    random = np.random.default_rng(4)
    some = [Sharpe(float(ratio), 0.0, 3.0, PERIODS) for ratio in random.normal(0, 0.05, 20)]

    few, many = deflated_sharpe(max(some, key=lambda each: each.ratio), 5, 0.05), deflated_best(some)

    assert few is not None
    assert many is not None
    assert 0 < many < few < 1


@pytest.mark.parametrize("ratios", [[], [0.1], [0.1, 0.1]])
def test_fewer_than_two_different_ratios_have_no_deflated_sharpe(ratios: list[float]) -> None:
    assert deflated_best([Sharpe(ratio, 0.0, 3.0, PERIODS) for ratio in ratios]) is None
