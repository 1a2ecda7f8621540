"""A router's routes, its counts, and its work without a database; on a real server's two versions."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from postgres import Postgres
from traffic_support import MODEL, NEVER_S, MakeRouter, calls, canary, versions

from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.traffic.records import CallWindow
from nautilus_torchserve.traffic.router import Router
from nautilus_torchserve.traffic.split import State
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.traffic.versions import ModelConnector
from nautilus_torchserve.wire.errors import NotFinite, SchemaMismatch, UnknownModel
from support import until


def test_without_a_split_the_default_version_answers_with_the_same_bits(
    router_of: MakeRouter, store: TrafficStore, two_versions: TorchServe, rows: np.ndarray
) -> None:
    router = router_of(store, schema=tick_schema(32))

    answer = router.predict(rows, "I0", 0)

    with connect(two_versions.inference_url, MODEL, token=two_versions.token) as client:
        plain = client.predict(rows)
    assert (answer.version, answer.digest) == (plain.version, plain.digest)
    assert answer.version == "1.0"
    for name, values in plain.outputs.items():
        np.testing.assert_array_equal(answer.outputs[name].view(np.uint32), values.view(np.uint32))
    assert router.split is None
    router.refresh()
    assert calls(store, "") == {"1.0": (1, 0)}
    (window,) = store.read(CallWindow, "")
    assert {name: sum(counts.values()) for name, counts in window.outputs.items()} == dict.fromkeys(
        ("buy", "sell", "hold"), len(rows)
    )


def test_instruments_go_to_the_version_that_the_split_gives_them_and_each_call_is_counted(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray
) -> None:
    router = router_of(store)
    split = store.start(canary(0.0))
    seen = []

    for share in (0.0, 0.4, 1.0):
        split = store.set_share(split.name, share)
        router.refresh()
        answered = versions(router, rows)
        seen += answered
        assert answered == [split.version_for(f"I{number}", number) for number in range(30)]
        assert router.split == split

    router.refresh()
    assert calls(store, split.name) == {version: (count, 0) for version, count in Counter(seen).items()}
    assert len(seen) == 90


def test_a_position_keeps_its_version_until_it_is_withdrawn(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray
) -> None:
    router = router_of(store)
    store.start(canary(1.0))
    assert set(versions(router, rows)) == {"1.0"}  # not read yet
    router.refresh()

    assert set(versions(router, rows, has_exposure=True)) == {"1.0"}
    assert set(versions(router, rows)) == {"1.1"}
    store.end("canary-1", State.STOPPED)
    store.start(canary(0.0, name="canary-2"))
    router.refresh()
    assert set(versions(router, rows, has_exposure=True)) == {"1.1"}
    assert store.users(MODEL, "1.1") == ["host-1"]
    store.end("canary-2", State.WITHDRAWN)
    router.refresh()
    assert set(versions(router, rows, has_exposure=True)) == {"1.0"}
    router.refresh()
    assert store.users(MODEL, "1.1") == []
    assert store.users(MODEL, "1.0") == ["host-1"]


def test_a_version_is_left_only_once_its_calls_are_written(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.start(canary(1.0))
    router = router_of(store)
    assert set(versions(router, rows)) == {"1.1"}
    store.end("canary-1", State.WITHDRAWN)
    written, heartbeat = [], store.heartbeat

    def observe(name: str, model: str, in_use: Sequence[str]) -> None:
        written.append((list(in_use), calls(store, "canary-1")))
        heartbeat(name, model, in_use)

    monkeypatch.setattr(store, "heartbeat", observe)
    router.refresh()

    assert written[0] == (["1.0"], {"1.1": (30, 0)})


def test_the_split_is_read_in_the_background(router_of: MakeRouter, store: TrafficStore, rows: np.ndarray) -> None:
    router = router_of(store, refresh_s=0.02)
    store.start(canary(1.0))

    until(lambda: router.split is not None and router.split.name == "canary-1")

    assert set(versions(router, rows)) == {"1.1"}
    until(lambda: calls(store, "canary-1").get("1.1") == (30, 0))
    store.end("canary-1", State.WITHDRAWN)
    until(lambda: router.split is None)


def test_a_failed_request_is_an_error_of_its_version_and_not_sent_to_another(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray
) -> None:
    store.start(canary(1.0))
    router = router_of(store)

    with pytest.raises(NotFinite):
        router.predict(np.full((1, 4), np.nan, dtype=np.float32), "I0", 0)
    router.predict(rows[:1], "I0", 0)

    router.refresh()
    assert calls(store, "canary-1") == {"1.1": (2, 1)}


def test_a_challenger_that_is_not_there_gets_nothing_and_its_errors_are_counted(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    store.start(canary(1.0, challenger="9.9"))
    router = router_of(store)

    assert set(versions(router, rows)) == {"1.0"}

    router.refresh()
    router.refresh()
    seen = calls(store, "canary-1")
    assert seen["1.0"] == (30, 0)
    assert seen["9.9"] == (30 + 3, 30 + 3)  # each call that it missed, each attempt to connect
    assert caplog.text.count("tick-split 9.9 is unusable: UnknownModel") == 1
    assert store.users(MODEL, "9.9") == []


def test_a_challenger_that_does_not_suit_the_caller_gets_nothing(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray
) -> None:
    def check_metadata(metadata: ModelMetadata) -> None:
        if metadata.version != "1.0":
            raise SchemaMismatch("other bars")

    store.start(canary(1.0))
    router = router_of(store, check_metadata=check_metadata)

    assert set(versions(router, rows)) == {"1.0"}
    router.refresh()
    assert calls(store, "canary-1")["1.1"] == (32, 32)


@pytest.fixture
def promoted(two_versions: TorchServe) -> Iterator[Callable[[], None]]:
    """Make 1.1 the server's default version."""
    yield lambda: two_versions.management().set_default(MODEL, "1.1")
    two_versions.management().set_default(MODEL, "1.0")


def test_after_a_promotion_the_default_version_answers_except_where_a_position_keeps_the_old_one(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray, promoted: Callable[[], None]
) -> None:
    router = router_of(store)
    router.predict(rows[:1], "I0", 0)
    store.start(canary(1.0))
    router.refresh()

    promoted()
    store.end("canary-1", State.PROMOTED)
    router.refresh()

    assert router.predict(rows[:1], "I0", 1, has_exposure=True).version == "1.0"
    router.refresh()
    router.refresh()  # no request went to the default route meanwhile: the router looks its version up
    assert router.pending_version_change("I0", 2)
    assert store.users(MODEL, "1.0") == ["host-1"]
    assert router.predict(rows[:1], "I0", 2).version == "1.1"
    assert not router.pending_version_change("I0", 3)
    router.refresh()
    assert store.users(MODEL, "1.0") == []


def test_responses_of_a_new_default_version_that_does_not_suit_the_caller_are_refused(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray, promoted: Callable[[], None]
) -> None:
    def check_metadata(metadata: ModelMetadata) -> None:
        if metadata.version != "1.0":
            raise SchemaMismatch("other bars")

    router = router_of(store, check_metadata=check_metadata)
    promoted()
    router.predict(rows[:1], "I0", 0)

    router.refresh()

    with pytest.raises(SchemaMismatch, match="other bars"):
        router.predict(rows[:1], "I0", 1)


def test_a_default_version_of_other_features_is_refused(router_of: MakeRouter, store: TrafficStore) -> None:
    with pytest.raises(SchemaMismatch, match=r"features tick/1 over 16 events .* got one"):
        router_of(store, schema=tick_schema(16))
    with pytest.raises(UnknownModel):
        router_of(store, model="nosuch")


def test_an_archive_without_a_server_is_refused(store: TrafficStore, tick_archive: Path) -> None:
    with pytest.raises(ValueError, match=r"expected the url of a server, http:// or https:// .*, got 'mar:"):
        Router(ModelConnector(f"mar:{tick_archive}", MODEL), store)


def test_calls_of_many_threads_are_all_counted(router_of: MakeRouter, store: TrafficStore, rows: np.ndarray) -> None:
    store.start(canary(0.5))
    router = router_of(store, refresh_s=0.01)

    with ThreadPoolExecutor(6) as pool:
        answered = list(pool.map(lambda number: router.predict(rows[:2], f"I{number % 7}", 0).version, range(300)))

    router.refresh()
    assert calls(store, "canary-1") == {version: (count, 0) for version, count in Counter(answered).items()}


def test_an_outage_of_the_database_stops_nothing_and_its_calls_are_written_later(
    router_of: MakeRouter, postgres: Postgres, rows: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    store = TrafficStore(postgres.url)
    store.start(canary(1.0, name="canary-pg"))
    router = router_of(store, refresh_s=0.02)
    before = versions(router, rows)

    postgres.stop()
    until(lambda: "continues without the traffic store" in caplog.text)
    during = versions(router, rows)
    again = TrafficStore(postgres.start())
    until(lambda: calls(again, "canary-pg").get("1.1", (0, 0))[0] >= 60)

    assert set(before + during) == {"1.1"}
    assert calls(again, "canary-pg") == {"1.1": (60, 0)}
    until(lambda: "the traffic store is back" in caplog.text)
    assert caplog.text.count("continues without the traffic store") == 1
    again.close()


def test_counts_that_the_database_does_not_take_are_written_later(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray, out_of_order: Callable[..., Any]
) -> None:
    router = router_of(store)

    with out_of_order():
        versions(router, rows)
        router.refresh()
        versions(router, rows)
        router.refresh()
    versions(router, rows)
    router.refresh()

    assert calls(store, "") == {"1.0": (90, 0)}
    assert len(store.read(CallWindow, "")) == 1


def test_a_router_writes_its_counts_when_it_closes_and_is_removed(
    two_versions: TorchServe, store: TrafficStore, rows: np.ndarray
) -> None:
    connector = ModelConnector(two_versions.inference_url, MODEL, token=two_versions.token)

    with Router(connector, store, refresh_s=NEVER_S, name="host-1") as router:
        versions(router, rows)
        assert store.users(MODEL, "1.0") == ["host-1"]

    assert calls(store, "") == {"1.0": (30, 0)}
    assert store.users(MODEL, "1.0") == []


@pytest.mark.slow
def test_a_version_that_the_server_no_longer_has_is_left_after_the_request_that_fails_for_it(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray, two_versions: TorchServe, slow_version: str
) -> None:
    store.start(canary(1.0, challenger=slow_version))
    router = router_of(store)
    router.predict(rows[:1], "I0", 0)
    store.end("canary-1", State.STOPPED)
    router.refresh()

    two_versions.management().unregister(MODEL, slow_version)

    with pytest.raises(UnknownModel):
        router.predict(rows[:1], "I0", 1, has_exposure=True)
    assert router.predict(rows[:1], "I0", 2, has_exposure=True).version == "1.0"
