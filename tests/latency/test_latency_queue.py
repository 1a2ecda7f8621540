import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.latency.choice import Delay, QueuedDelay
from nautilus_torchserve.latency.profile import LatencyProfile

services = st.lists(st.integers(1, 10**7), min_size=1, max_size=20)
gaps = st.lists(st.integers(0, 10**7), min_size=1, max_size=80)
workers_of = st.integers(1, 4)
seeds = st.integers(0, 2**32)


def queue(service: list[int], workers: int = 1, seed: int = 0) -> Delay:
    return QueuedDelay(LatencyProfile(np.array(service), workers), workers, seed)


@given(services, gaps, workers_of, seeds, st.lists(st.integers(0, 80), max_size=5))
def test_stream_in_any_chunks_is_the_same(
    service: list[int], between: list[int], workers: int, seed: int, cuts: list[int]
) -> None:
    arrivals = np.cumsum(between)
    one_by_one, chunked = queue(service, workers, seed), queue(service, workers, seed)

    streamed = [one_by_one.due(at) for at in arrivals.tolist()]
    parts = [chunked.due_many(part) for part in np.split(arrivals, sorted(cut for cut in cuts if cut < len(arrivals)))]

    assert np.concatenate(parts).tolist() == streamed


@pytest.mark.parametrize("workers", [1, 3])
def test_stream_and_chunks_agree_across_many_draws(workers: int) -> None:
    arrivals = np.arange(10_000) * 5
    one_by_one, whole, mixed = (queue([3, 5, 9], workers, seed=7) for _ in range(3))

    due = whole.due_many(arrivals)

    assert due.tolist() == [one_by_one.due(at) for at in arrivals.tolist()]
    taken = [mixed.due_many(arrivals[:4095]), [mixed.due(at) for at in arrivals[4095:4099].tolist()]]
    assert due.tolist() == np.concatenate([*taken, mixed.due_many(arrivals[4099:])]).tolist()
    assert set((due - arrivals)[:1].tolist()) <= {3, 5, 9}


@given(services, gaps, workers_of, seeds)
def test_more_workers_never_delay_a_response(service: list[int], between: list[int], workers: int, seed: int) -> None:
    arrivals = np.cumsum(between)

    fewer = queue(service, workers, seed).due_many(arrivals)
    more = queue(service, workers + 1, seed).due_many(arrivals)

    assert (more <= fewer).all()


@given(st.integers(1, 10**6), gaps)
def test_one_worker_with_one_time_is_the_max_plus_formula(took: int, between: list[int]) -> None:
    arrivals = np.cumsum(between).tolist()

    due = queue([took]).due_many(np.array(arrivals)).tolist()

    assert due == [
        max(arrivals[first] + (last - first + 1) * took for first in range(last + 1)) for last in range(len(arrivals))
    ]


@given(services, st.lists(st.integers(0, 10**9), min_size=1, max_size=80, unique=True), seeds)
def test_with_a_worker_per_request_there_is_no_queueing(service: list[int], arrivals: list[int], seed: int) -> None:
    at = np.array(sorted(arrivals))

    waited = queue(service, len(at), seed).due_many(at) - at

    assert set(waited.tolist()) <= set(service)


def test_burst_waits_in_line() -> None:
    assert (queue([3_000_000]).due_many(np.zeros(60, dtype=np.int64)) / 3_000_000).tolist() == list(range(1, 61))


def test_draws_are_those_of_the_profile() -> None:
    profile, apart = [10, 20, 20, 70], np.arange(40_000) * 1000

    took = queue(profile, seed=3).due_many(apart) - apart

    share = {value: (took == value).mean() for value in (10, 20, 70)}
    assert share[10] + share[20] + share[70] == 1
    assert share == pytest.approx({10: 0.25, 20: 0.5, 70: 0.25}, abs=0.015)  # six standard deviations


def test_another_seed_draws_otherwise() -> None:
    apart = np.arange(100) * 1000

    assert (queue([10, 20], seed=1).due_many(apart) != queue([10, 20], seed=2).due_many(apart)).any()


def test_responses_may_overtake_with_two_workers() -> None:
    due = queue([1, 10**6], workers=2, seed=1).due_many(np.arange(50))

    assert (np.diff(due) < 0).any()


def test_arrival_before_its_predecessor_is_refused_and_changes_nothing() -> None:
    tried, untried = queue([5, 9], seed=4), queue([5, 9], seed=4)
    first = np.array([10, 20])
    assert tried.due_many(first).tolist() == untried.due_many(first).tolist()

    with pytest.raises(ValueError, match="expected an arrival at or after 20, got 19"):
        tried.due(19)
    with pytest.raises(ValueError, match="expected an arrival at or after 30, got 29"):
        tried.due_many(np.array([25, 30, 29]))

    assert tried.due(21) == untried.due(21)


def test_no_requests_give_no_responses() -> None:
    delay = queue([5])

    assert delay.due_many(np.empty(0, dtype=np.int64)).tolist() == []
    assert delay.due(0) == 5


@pytest.mark.parametrize(("workers", "seed", "error"), [(0, 1, "at least 1 worker, got 0"), (1, -1, "a seed of")])
def test_invalid_queue_is_refused(workers: int, seed: int, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        QueuedDelay(LatencyProfile(np.array([5]), 1), workers, seed)
