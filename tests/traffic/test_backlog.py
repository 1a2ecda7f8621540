"""Records and counts are queued for the store, and none is lost without a log line."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.backlog import Backlog, Writer
from nautilus_torchserve.traffic.records import (
    CallCounts,
    CallWindow,
    ShadowAnswer,
    bucket_latency_ms,
    latency_bucket,
    output_bucket,
    output_buckets,
)
from nautilus_torchserve.traffic.store import StoreFailed, TrafficStore
from support import until

ANSWER = ShadowAnswer("s", "tick", "1.1", "BTC", 0, {"buy": 0.5}, {"buy": 0.4}, 1.0, "")


def answers(count: int) -> list[ShadowAnswer]:
    return [replace(ANSWER, ts_ns=number) for number in range(count)]


def test_records_queued_in_an_outage_are_written_after_it_in_order(
    store: TrafficStore, out_of_order: Callable[..., object]
) -> None:
    backlog = Backlog[ShadowAnswer](store.keep, "answers")

    with out_of_order():
        backlog.add(*answers(2_500))
        with pytest.raises(StoreFailed):
            backlog.flush()
        assert len(backlog) == 2_500
    backlog.flush()

    assert store.read(ShadowAnswer, "s") == answers(2_500)
    assert len(backlog) == 0


def test_beyond_its_limit_the_oldest_records_are_dropped_and_that_is_logged(
    store: TrafficStore, out_of_order: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    backlog = Backlog[ShadowAnswer](store.keep, "answers", most=100)

    with out_of_order():
        backlog.add(*answers(130))
    backlog.flush()

    assert store.read(ShadowAnswer, "s") == answers(130)[30:]
    assert backlog.dropped == 30
    assert "answers: 1 records dropped so far, 100 of a kind wait" in caplog.text


def test_a_writer_writes_by_itself_and_logs_an_outage_once(
    store: TrafficStore, out_of_order: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer[ShadowAnswer](store.keep, "outcomes of tick", 0.01)
    with out_of_order():
        writer.add(*answers(3))
        until(lambda: "continues without" in caplog.text)
        for _ in range(3):
            writer.flush()

    until(lambda: len(store.read(ShadowAnswer, "s")) == 3)
    writer.add(*answers(2))
    writer.close()

    assert len(store.read(ShadowAnswer, "s")) == 5
    assert caplog.text.count("outcomes of tick continues without the traffic store") == 1
    assert caplog.text.count("outcomes of tick: the traffic store is back") == 1


def test_records_lost_at_the_end_are_logged(
    store: TrafficStore, out_of_order: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer[ShadowAnswer](store.keep, "outcomes of tick", 3600.0)
    with out_of_order():
        writer.add(*answers(7))
        writer.close()

    assert "outcomes of tick: 7 records are lost" in caplog.text


CALLS = st.lists(st.tuples(st.sampled_from(["1.0", "1.1"]), st.one_of(st.none(), st.integers(1, 10**10))))


@settings(deadline=None)
@given(CALLS, st.integers(0, 20))
def test_windows_add_up_to_the_calls_whether_they_were_kept_or_not(
    calls: list[tuple[str, int | None]], taken_after: int
) -> None:
    counts, kept = CallCounts("tick", "host-1"), list[CallWindow]()
    for number, (version, latency_ns) in enumerate(calls):
        if latency_ns is None:
            counts.record_failure("s", version)
        else:
            counts.record_response("s", version, latency_ns, {"buy": np.array([0.5, 0.25], dtype=np.float32)})
        if number == taken_after:
            counts.put_back(counts.take())  # an outage
        elif number % 5 == 4:
            kept += counts.take()
    kept += counts.take()

    for version in ("1.0", "1.1"):
        own = [window for window in kept if window.version == version]
        latencies_ms = [latency / 1e6 for of, latency in calls if of == version and latency is not None]
        errors = sum(1 for of, latency in calls if of == version and latency is None)
        assert sum(window.requests for window in own) == len(latencies_ms) + errors
        assert sum(window.errors for window in own) == errors
        assert sum(window.latency_ms_sum for window in own) == pytest.approx(sum(latencies_ms))
        assert sum(window.latency_ms_squares for window in own) == pytest.approx(
            sum(latency**2 for latency in latencies_ms)
        )
        buckets = sum((Counter(window.latencies) for window in own), Counter())
        assert buckets == Counter(map(latency_bucket, latencies_ms))
        rows = sum((Counter(window.outputs.get("buy", {})) for window in own), Counter())
        assert rows == Counter({output_bucket(0.5): len(latencies_ms), output_bucket(0.25): len(latencies_ms)})


@given(st.floats(1e-5, 1e7))
def test_a_latency_read_from_its_bucket_is_never_too_good_nor_5_percent_too_bad(latency_ms: float) -> None:
    read = bucket_latency_ms(latency_bucket(latency_ms))

    assert latency_ms <= read * (1 + 1e-12)
    assert read <= 1.05 * latency_ms * (1 + 1e-12)


@pytest.mark.parametrize("rows", [0, 1, 64, 65, 5_000])
def test_many_outputs_fall_into_the_buckets_that_each_falls_into(rows: int) -> None:
    values = np.random.default_rng(rows).normal(0, 30, rows).astype(np.float32)

    assert output_buckets(values) == Counter(map(output_bucket, values.tolist()))
