import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.reporting.backtest.thinning import line_points, strongest_points

series = st.lists(st.tuples(st.integers(0, 10_000), st.integers(-50, 50)), min_size=1, max_size=200).map(
    lambda points: (np.sort(np.array([t for t, _ in points])), np.array([float(v) for _, v in points]))
)


@given(series, st.integers(1, 20))
def test_a_line_keeps_ends_and_extremes_of_each_bin(points: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    ts_ns, values = points
    kept = line_points(ts_ns, values, bins)

    assert (np.diff(kept) > 0).all()
    assert len(kept) <= 4 * bins
    assert {0, len(ts_ns) - 1} <= set(kept.tolist())
    width = max(int(ts_ns[-1] - ts_ns[0]), 1) // bins + 1
    place = (ts_ns - ts_ns[0]) // width
    for bin_index in np.unique(place):
        here = np.flatnonzero(place == bin_index)
        shown = values[np.intersect1d(kept, here)]
        assert shown.min() == values[here].min()
        assert shown.max() == values[here].max()


@given(series, st.integers(1, 20))
def test_the_strongest_of_each_bin_is_shown(points: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    ts_ns, strength = points
    kept = strongest_points(ts_ns, strength, int(ts_ns[0]), int(ts_ns[-1]), bins)

    assert len(kept) == len(set(kept.tolist())) <= bins
    assert strength[kept].max() == strength.max()


def test_few_points_are_all_shown() -> None:
    ts_ns = np.arange(10)

    assert line_points(ts_ns, np.zeros(10)).tolist() == list(range(10))
    assert strongest_points(ts_ns, np.zeros(10), 0, 9).tolist() == list(range(10))
    assert line_points(ts_ns[:0], np.empty(0)).tolist() == []
