import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.latency.profile import (
    LONGEST_NS,
    BadProfile,
    LatencyProfile,
    load_profile,
    save_profile,
    service_times,
)

times = st.integers(1, 10**9)
gaps = st.integers(0, 10**8)


def run_queue(arrivals: list[int], service: list[int], workers: int) -> list[int]:
    """First come, first served, in the plainest words: the worker that is free first takes the next one."""
    free = [0] * workers
    done = []
    for arrived, took in zip(arrivals, service, strict=True):
        worker = free.index(min(free))
        free[worker] = max(arrived, free[worker]) + took
        done.append(free[worker])
    return done


@given(st.lists(st.tuples(gaps, times), min_size=1, max_size=60), st.integers(1, 4))
def test_service_times_of_a_queue_are_recovered(requests: list[tuple[int, int]], workers: int) -> None:
    arrivals = np.cumsum([gap for gap, _ in requests])
    service = [took for _, took in requests]
    completions = np.array(run_queue(arrivals.tolist(), service, workers))

    result = service_times(arrivals, completions, workers)

    assert result.service_ns.tolist() == service
    assert result.raised == 0


@given(st.lists(st.tuples(gaps, st.integers(0, 10**9)), min_size=1, max_size=60), st.integers(1, 4))
def test_replayed_times_give_any_recorded_completions_but_for_the_raised(
    requests: list[tuple[int, int]], workers: int
) -> None:
    arrivals = np.cumsum([gap for gap, _ in requests])
    completions = arrivals + np.array([took for _, took in requests])

    result = service_times(arrivals, completions, workers)

    replayed = np.array(run_queue(arrivals.tolist(), result.service_ns.tolist(), workers))
    late = replayed != completions
    assert late.sum() == result.raised
    assert (result.service_ns[late] == 1).all()
    assert (replayed >= completions).all()


def test_time_in_the_line_is_not_service() -> None:
    arrivals, completions = np.array([0, 1, 2]), np.array([10, 20, 30])

    assert service_times(arrivals, completions, 1).service_ns.tolist() == [10, 10, 10]
    assert service_times(arrivals, completions, 3).service_ns.tolist() == [10, 19, 28]


@pytest.mark.parametrize(
    ("arrivals", "completions", "workers", "error"),
    [
        ([5, 4], [9, 9], 1, "expected arrivals in order"),
        ([5, 6], [9, 3], 1, "at or after their arrivals, got 3 for 6 in request 1"),
        ([5, 6], [9], 1, "expected as many completions as arrivals, at least 1, got 2 and 1"),
        ([], [], 1, "got 0 and 0"),
        ([5], [9], 0, "expected at least 1 worker, got 0"),
    ],
)
def test_invalid_pairs_are_refused(arrivals: list[int], completions: list[int], workers: int, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        service_times(np.array(arrivals, dtype=np.int64), np.array(completions, dtype=np.int64), workers)


def test_profile_is_the_same_after_a_file(tmp_path: Path) -> None:
    profile = LatencyProfile(np.array([3, 1, LONGEST_NS]), 2, {"model": "tick", "p50_ms": 1.25})

    save_profile(profile, tmp_path / "new" / "profile.json")
    loaded = load_profile(tmp_path / "new" / "profile.json")

    assert loaded.service_ns.tolist() == [3, 1, LONGEST_NS]
    assert loaded.service_ns.dtype == np.int64
    assert (loaded.workers, loaded.about) == (2, profile.about)


GOOD = {"format": 1, "about": {}, "workers": 1, "service_ns": [5]}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("not json", "expected a latency profile as JSON, got unreadable"),
        ("[1]", "expected a JSON object, got list"),
        ({**GOOD, "format": 2}, "format: expected 1, got 2"),
        ({**GOOD, "workers": 0}, "workers: expected a whole number of at least 1, got 0"),
        ({**GOOD, "workers": True}, "workers: expected a whole number of at least 1, got true"),
        ({**GOOD, "workers": "two"}, 'workers: expected a whole number of at least 1, got "two"'),
        ({**GOOD, "about": None}, "about: expected an object, got missing"),
        ({**GOOD, "service_ns": 5}, "service_ns: expected a list of nanoseconds, got 5"),
        ({**GOOD, "service_ns": []}, "service_ns: expected int64 .n. with at least 1 time"),
        ({**GOOD, "service_ns": [5, 0]}, r"service_ns\[1\]: expected nanoseconds from 1 .*, got 0"),
        ({**GOOD, "service_ns": [5, 1.5]}, r"service_ns\[1\]: expected .*, got 1.5"),
        ({**GOOD, "service_ns": [2**70]}, r"service_ns\[0\]: expected .*, got 1180591620717411303424"),
    ],
)
def test_file_that_is_no_profile_is_refused_by_name(content: Any, error: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))

    with pytest.raises(BadProfile, match=f"odd.json: {error}"):
        load_profile(path)


def test_missing_file_is_a_bad_profile(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match=r"none\.json: expected a latency profile as JSON"):
        load_profile(tmp_path / "none.json")
