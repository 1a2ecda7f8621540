"""Requests beside the event loop: each has one outcome, whatever the server does."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dispatcher_support import BTC, ETH, MS, DispatcherProbe, config, run_dispatcher, threads_of, until
from tcp_proxy import Proxy

from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.server.config import free_ports
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.trading.inference.messages import InferenceCall, ModelHealth, RequestOutcome
from nautilus_torchserve.wire.errors import SchemaMismatch
from support import PROJECT


@pytest.fixture(autouse=True)
def token(tick_server: TorchServe, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tick_server.token is not None
    monkeypatch.setenv("TORCHSERVE_TOKEN", tick_server.token)


@pytest.fixture
def proxy(tick_server: TorchServe) -> Iterator[Proxy]:
    with Proxy(tick_server.inference_url) as relay:
        yield relay


def unused_url() -> str:
    """Return a URL without a server."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


def test_responses_are_those_of_the_server_bit_for_bit(tick_server: TorchServe, rows: np.ndarray) -> None:
    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        for row in rows[:200]:
            probe.submit(row)
            await asyncio.sleep(0)
        await until(lambda: len(probe.outcomes()) == 200)

    probe = run_dispatcher(config(tick_server.inference_url, live={"max_rows": 200}), scenario)

    with connect(tick_server.inference_url, "tick", token=tick_server.token) as client:
        expected = client.predict(rows[:200])
    assert set(probe.outcomes().values()) == {RequestOutcome.ANSWERED}
    for call in probe.calls:
        assert (call.url, call.version, call.digest) == (tick_server.inference_url, expected.version, expected.digest)
        numbers = [request.number for request in call.requests]
        assert numbers == sorted(numbers, reverse=True)
        for name, values in call.outputs.items():
            np.testing.assert_array_equal(values, expected.outputs[name][numbers])


def test_a_call_in_flight_blocks_nothing_and_queued_requests_go_into_the_next(proxy: Proxy, rows: np.ndarray) -> None:
    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        proxy.hold()
        probe.submit(rows[0])
        await until(lambda: probe.dispatcher.is_idle)
        for row in rows[1:6]:
            probe.submit(row, ETH)
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert list(probe.outcomes()) == [1, 2]
        proxy.release()
        await until(lambda: len(probe.outcomes()) == 6)

    probe = run_dispatcher(config(proxy.url, live={"max_rows": 3}), scenario)

    assert [[request.number for request in call.requests] for call in probe.calls] == [[2, 1], [0], [5, 4, 3]]
    assert [set(call.outcomes) for call in probe.calls] == [
        {RequestOutcome.EXPIRED},
        {RequestOutcome.ANSWERED},
        {RequestOutcome.ANSWERED},
    ]
    assert [bool(call.sent_ns) for call in probe.calls] == [False, True, True]


def test_late_responses_are_dropped_and_late_requests_are_not_sent(proxy: Proxy, rows: np.ndarray) -> None:
    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        proxy.hold()
        probe.submit(rows[0])
        await until(lambda: probe.dispatcher.is_idle)
        probe.submit(rows[1])
        await until(lambda: time.time_ns() > probe.requests[1].ts_init + 400 * MS)
        proxy.release()
        await until(lambda: len(probe.outcomes()) == 2)

    probe = run_dispatcher(config(proxy.url, live={"deadline_ns": 400 * MS}), scenario)

    assert probe.outcomes() == {0: RequestOutcome.LATE, 1: RequestOutcome.EXPIRED}
    late, expired = probe.calls
    assert late.ended_ns - late.requests[0].ts_init > 400 * MS
    assert "DeadlinePassed" in late.error
    assert (expired.url, expired.sent_ns, expired.outputs) == ("", 0, {})


def test_a_request_that_is_old_when_it_is_submitted_expires(tick_server: TorchServe, rows: np.ndarray) -> None:
    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        probe.submit(rows[0], age_ns=11_000 * MS)
        probe.submit(rows[1])
        await until(lambda: len(probe.outcomes()) == 2)

    assert run_dispatcher(config(tick_server.inference_url), scenario).outcomes() == {
        0: RequestOutcome.EXPIRED,
        1: RequestOutcome.ANSWERED,
    }


def test_one_bad_row_fails_alone_and_is_no_failure_of_the_server(tick_server: TorchServe, rows: np.ndarray) -> None:
    bad = np.full(4, np.nan, dtype=np.float32)

    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        for _ in range(4):
            for row in (rows[0], bad, rows[1]):
                probe.submit(row)
            await until(lambda: len(probe.outcomes()) == len(probe.requests))

    probe = run_dispatcher(config(tick_server.inference_url, live={"failures_to_open": 1}), scenario)

    assert (
        list(probe.outcomes().values())
        == [RequestOutcome.ANSWERED, RequestOutcome.REFUSED, RequestOutcome.ANSWERED] * 4
    )
    assert all("NotFinite" in call.error for call in probe.calls if RequestOutcome.REFUSED in call.outcomes)
    assert probe.states() == ["half_open", "closed"]


def test_without_a_server_requests_fail_at_once(rows: np.ndarray) -> None:
    url = unused_url()

    async def scenario(probe: DispatcherProbe) -> None:
        probe.submit(rows[0])  # nothing is connected yet
        await until(lambda: bool(probe.health))
        call = await probe.predict(rows[1])
        assert not probe.dispatcher.is_available
        assert (call.url, call.sent_ns, call.outcomes) == ("", 0, (RequestOutcome.FAILED,))
        assert url in call.error

    probe = run_dispatcher(config(url), scenario)

    assert probe.outcomes() == {0: RequestOutcome.FAILED, 1: RequestOutcome.FAILED}
    assert probe.states() == ["open"]
    assert "Unavailable" in probe.health[0].why


def test_a_fallback_takes_over_and_hands_back(tick_server: TorchServe, proxy: Proxy, rows: np.ndarray) -> None:
    first, second = proxy.url, tick_server.inference_url
    answered = []

    async def scenario(probe: DispatcherProbe) -> None:
        await until(lambda: len(probe.health) == 2)  # both are connected
        answered.append(await probe.predict(rows[0]))
        proxy.cut()
        answered.extend([await probe.predict(rows[0]) for _ in range(3)])
        proxy.open()
        await until(lambda: probe.health[-1].url == first and probe.health[-1].state == "half_open")
        answered.append(await probe.predict(rows[0]))

    run_dispatcher(config(first, live={"fallback_urls": (second,), "failures_to_open": 2}), scenario)

    assert [call.url for call in answered] == [first, first, first, second, first]
    assert [call.outcomes[0] is RequestOutcome.ANSWERED for call in answered] == [True, False, False, True, True]


def test_after_an_outage_only_new_requests_are_sent(proxy: Proxy, rows: np.ndarray) -> None:
    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        await probe.predict(rows[0])
        proxy.cut()
        while probe.dispatcher.is_available:
            await probe.predict(rows[0])
        for row in rows[:20]:
            probe.submit(row)
        proxy.open()
        await until(lambda: probe.dispatcher.is_available)
        assert len(probe.outcomes()) == len(probe.requests)
        assert (await probe.predict(rows[1])).outcomes == (RequestOutcome.ANSWERED,)

    probe = run_dispatcher(config(proxy.url), scenario)

    assert list(probe.outcomes().values()) == [
        RequestOutcome.ANSWERED,
        *[RequestOutcome.FAILED] * 23,
        RequestOutcome.ANSWERED,
    ]
    assert probe.states() == ["half_open", "closed", "open", "half_open", "closed"]


def test_late_responses_open_the_breaker(proxy: Proxy, rows: np.ndarray) -> None:
    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        await probe.predict(rows[0])
        proxy.hold()
        late = probe.submit(rows[1])
        await until(lambda: time.time_ns() > late.ts_init + 400 * MS)
        proxy.release()
        await until(lambda: late.number in probe.outcomes())
        await until(lambda: probe.states()[-1] == "half_open")
        await probe.predict(rows[2])

    probe = run_dispatcher(config(proxy.url, live={"deadline_ns": 400 * MS, "failures_to_open": 1}), scenario)

    assert probe.outcomes() == {0: RequestOutcome.ANSWERED, 1: RequestOutcome.LATE, 2: RequestOutcome.ANSWERED}
    assert probe.states() == ["half_open", "closed", "open", "half_open", "closed"]
    assert "no answer within the deadline of 400 ms" in probe.health[2].why


def test_a_silent_server_is_not_waited_for_long(proxy: Proxy, rows: np.ndarray) -> None:
    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        proxy.hold()
        call = await probe.predict(rows[0])
        assert call.outcomes == (RequestOutcome.FAILED,)
        assert "DeadlinePassed" in call.error
        assert "within 0.2 s" in call.error  # twice the deadline

    run_dispatcher(config(proxy.url, live={"deadline_ns": 100 * MS}), scenario)


def test_a_model_of_other_features_gets_no_requests(tick_server: TorchServe, rows: np.ndarray) -> None:
    async def scenario(probe: DispatcherProbe) -> None:
        await until(lambda: bool(probe.health))
        assert (await probe.predict(rows[0])).outcomes == (RequestOutcome.FAILED,)

    probe = run_dispatcher(config(tick_server.inference_url), scenario, schema=tick_schema(window=16))

    assert probe.states() == ["open"]
    assert "SchemaMismatch" in probe.health[0].why
    assert "over 16" in probe.health[0].why


def test_a_model_that_does_not_suit_the_actor_gets_no_requests(tick_server: TorchServe, rows: np.ndarray) -> None:
    def check_metadata(metadata: ModelMetadata) -> None:
        raise SchemaMismatch(f"expected a model of bars, got one of {metadata.inputs}")

    async def scenario(probe: DispatcherProbe) -> None:
        await until(lambda: bool(probe.health))

    assert (
        "expected a model of bars"
        in run_dispatcher(config(tick_server.inference_url), scenario, check_metadata=check_metadata).health[0].why
    )


def test_errors_in_callables_are_counted_and_change_nothing_else(tick_server: TorchServe, rows: np.ndarray) -> None:
    delivered: list[InferenceCall] = []

    def deliver(call: InferenceCall, split: str) -> None:
        delivered.append(call)
        raise ZeroDivisionError

    def on_health(health: ModelHealth) -> None:
        raise KeyError

    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        for row in rows[:3]:
            probe.submit(row)
            count = len(delivered)
            await until(lambda count=count: len(delivered) > count)

    probe = run_dispatcher(config(tick_server.inference_url), scenario, deliver=deliver, on_health=on_health)

    assert [call.outcomes for call in delivered] == [(RequestOutcome.ANSWERED,)] * 3
    assert probe.dispatcher.handler_errors == 5  # three answers, half_open and closed


def test_an_internal_error_fails_its_requests_and_no_others(tick_server: TorchServe, rows: np.ndarray) -> None:
    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        ragged = [probe.submit(rows[0]), probe.submit(rows[0, :2])]  # which no actor makes
        await until(lambda: len(probe.outcomes()) == 2)
        assert all(probe.outcomes()[each.number] is RequestOutcome.FAILED for each in ragged)
        assert (await probe.predict(rows[0])).outcomes == (RequestOutcome.ANSWERED,)

    probe = run_dispatcher(config(tick_server.inference_url), scenario)

    assert probe.dispatcher.handler_errors == 1


def test_an_internal_error_while_connecting_is_counted_and_no_request_is_sent(tick_server: TorchServe) -> None:
    def check_metadata(metadata: ModelMetadata) -> None:
        raise ZeroDivisionError

    async def scenario(probe: DispatcherProbe) -> None:
        await until(lambda: probe.dispatcher.handler_errors >= 2)  # it is tried again
        assert not probe.dispatcher.is_available

    assert run_dispatcher(config(tick_server.inference_url), scenario, check_metadata=check_metadata).states() == [
        "open"
    ]


@pytest.mark.slow
def test_a_process_that_does_not_close_it_ends_all_the_same() -> None:
    code = f"""
import asyncio, sys
sys.path[:0] = {[str(PROJECT / "tests"), str(PROJECT / "tests" / "trading" / "inference")]!r}
from dispatcher_support import DispatcherProbe, config, tick_schema
async def main():
    DispatcherProbe(config("http://127.0.0.1:9"), tick_schema())
    raise SystemExit(7)
asyncio.run(main())
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, timeout=60, check=False)

    assert result.returncode == 7


def test_closing_ends_open_requests_and_delivers_nothing_afterwards(proxy: Proxy, rows: np.ndarray) -> None:
    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        proxy.hold()
        probe.submit(rows[0])
        await until(lambda: probe.dispatcher.is_idle)
        probe.submit(rows[1])
        probe.dispatcher.close()
        probe.submit(rows[2])
        assert probe.outcomes() == {0: RequestOutcome.FAILED, 1: RequestOutcome.FAILED}
        proxy.release()
        await until(lambda: not threads_of("tick"))
        await asyncio.sleep(0)

    probe = run_dispatcher(config(proxy.url), scenario)

    assert probe.outcomes() == {0: RequestOutcome.FAILED, 1: RequestOutcome.FAILED}
    assert [request.number for request in probe.calls[0].requests] == [1, 0]
    assert "Stopped" in probe.calls[0].error


def test_archive_in_this_process_responds_like_a_server(
    tick_archive: Path, tick_server: TorchServe, rows: np.ndarray
) -> None:
    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        await probe.predict(rows[0])

    probe = run_dispatcher(config(f"mar:{tick_archive}"), scenario)

    with connect(tick_server.inference_url, "tick", token=tick_server.token) as client:
        expected = client.predict(rows[:1])
    assert probe.calls[0].digest == expected.digest
    for name, values in expected.outputs.items():
        np.testing.assert_array_equal(probe.calls[0].outputs[name], values)
    assert not probe.dispatcher.pending_version_change(BTC, 0)
