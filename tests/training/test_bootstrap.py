import numpy as np

from nautilus_torchserve.training.fit.bootstrap import RESAMPLES, Blocks, interval


def test_each_resample_has_as_many_blocks_as_there_are() -> None:
    blocks = Blocks(105, 10, seed=1)

    assert blocks.times.shape == (RESAMPLES, 11)
    assert (blocks.times.sum(axis=1) == 11).all()


def test_the_mean_of_a_constant_is_certain() -> None:
    assert np.unique(Blocks(100, 7, seed=1).means(np.full(100, 3.0))).round(12).tolist() == [3.0]


def test_only_chosen_rows_count() -> None:
    values, chosen = np.array([1.0, 100.0] * 50), np.array([True, False] * 50)

    assert np.unique(Blocks(100, 4, seed=1).means(values, chosen)).tolist() == [1.0]


def test_the_interval_of_independent_rows_is_the_textbooks() -> None:
    values = np.random.default_rng(2).normal(0, 1, 20_000)

    low, high = interval(Blocks(len(values), 10, seed=1).means(values))

    half = 1.96 * values.std() / np.sqrt(len(values))
    np.testing.assert_allclose([low, high], [values.mean() - half, values.mean() + half], atol=0.15 * half)


def test_rows_that_repeat_each_other_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(2).normal(0, 1, 2_000), 10)

    short, long = (interval(Blocks(len(values), rows, seed=1).means(values)) for rows in (1, 100))

    assert long[1] - long[0] > 2 * (short[1] - short[0])
