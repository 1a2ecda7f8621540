"""A shadowed challenger gets copies, and no request waits for it; on a real server's two versions."""

import numpy as np
import pytest
from traffic_support import MODEL, MakeRouter, calls, canary, versions

from nautilus_torchserve.traffic.records import ShadowAnswer
from nautilus_torchserve.traffic.router import MOST_COPIES, Router
from nautilus_torchserve.traffic.split import Kind, fraction
from nautilus_torchserve.traffic.store import TrafficStore
from support import until


def test_a_shadow_gets_copies_of_its_share_and_answers_no_request(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray
) -> None:
    store.start(canary(0.5, name="shadow-1", kind=Kind.SHADOW))
    router = router_of(store)

    answers = [router.predict(rows[number : number + 1], f"I{number}", number) for number in range(100)]

    assert {answer.version for answer in answers} == {"1.0"}
    copied = {number for number in range(100) if fraction("shadow-1", f"call {number}") < 0.5}
    until(lambda: refreshed(router) and copies(store) == calls(store, "shadow-1").get("1.1", (0,))[0] == len(copied))
    shadows = store.read(ShadowAnswer, "shadow-1")
    assert {shadow.ts_ns for shadow in shadows} == copied
    assert 30 < len(copied) < 70
    for shadow in shadows:
        expected = {name: values.item(0) for name, values in answers[shadow.ts_ns].outputs.items()}
        assert shadow.instrument_id == f"I{shadow.ts_ns}"
        assert shadow.baseline_outputs == shadow.outputs == expected  # both versions have the same weights
        assert (shadow.version, shadow.error) == ("1.1", "")
        assert shadow.latency_ms > 0
    assert calls(store, "shadow-1")["1.0"] == (100, 0)
    assert store.users(MODEL, "1.1") == ["host-1"]


def copies(store: TrafficStore) -> int:
    return len(store.read(ShadowAnswer, "shadow-1"))


def refreshed(router: Router) -> bool:
    router.refresh()
    return True


def test_a_shadow_that_fails_is_recorded_and_disturbs_no_request(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray
) -> None:
    store.start(canary(1.0, name="shadow-1", kind=Kind.SHADOW, challenger="9.9"))
    router = router_of(store)

    assert set(versions(router, rows, instruments=5)) == {"1.0"}

    until(lambda: refreshed(router) and copies(store) == 5)
    assert all(shadow.error.startswith("UnknownModel") for shadow in store.read(ShadowAnswer, "shadow-1"))
    assert all(shadow.outputs == {} for shadow in store.read(ShadowAnswer, "shadow-1"))


@pytest.mark.slow
def test_a_slow_shadow_delays_no_request_and_dropped_copies_are_logged(
    router_of: MakeRouter, store: TrafficStore, rows: np.ndarray, slow_version: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.start(canary(1.0, name="shadow-1", kind=Kind.SHADOW, challenger=slow_version))
    router = router_of(store)

    answers = [router.predict(rows[:1], "I0", number) for number in range(MOST_COPIES + 50)]
    router.close()

    assert np.median([answer.latency_ns for answer in answers]) < 500e6  # the shadow's are all above 1 s
    shadows = store.read(ShadowAnswer, "shadow-1")
    assert 2 <= len(shadows) < 20
    assert all(shadow.latency_ms > 900 for shadow in shadows)
    assert calls(store, "shadow-1") == {"1.0": (len(answers), 0), slow_version: (len(shadows), 0)}
    assert "tick-split 1.2 is slower than its traffic: 1 copies of shadow shadow-1 dropped so far" in caplog.text
