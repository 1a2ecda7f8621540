"""Asking beside the event loop: what becomes of each question, whatever the server does."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from live_support import BTC, ETH, MS, Asked, asking, config, threads_of, until
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


def nobody() -> str:
    """A URL where nobody listens."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


def test_answers_are_those_of_the_server_bit_for_bit(tick_server: TorchServe, rows: np.ndarray) -> None:
    async def talk(asked: Asked) -> None:
        await asked.up()
        for row in rows[:200]:
            asked.put(row)
            await asyncio.sleep(0)
        await until(lambda: len(asked.fates()) == 200)

    asked = asking(config(tick_server.inference_url, live={"max_rows": 200}), talk)

    with connect(tick_server.inference_url, "tick", token=tick_server.token) as client:
        expected = client.predict(rows[:200])
    assert set(asked.fates().values()) == {RequestOutcome.ANSWERED}
    for call in asked.calls:
        assert (call.url, call.version, call.digest) == (tick_server.inference_url, expected.version, expected.digest)
        numbers = [each.number for each in call.questions]
        assert numbers == sorted(numbers, reverse=True)
        for name, values in call.outputs.items():
            np.testing.assert_array_equal(values, expected.outputs[name][numbers])


def test_a_request_in_flight_blocks_nothing_and_what_queues_goes_into_the_next(proxy: Proxy, rows: np.ndarray) -> None:
    async def talk(asked: Asked) -> None:
        await asked.up()
        proxy.hold()
        asked.put(rows[0])
        await until(lambda: asked.live.is_idle)
        for row in rows[1:6]:
            asked.put(row, ETH)
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert list(asked.fates()) == [1, 2]
        proxy.release()
        await until(lambda: len(asked.fates()) == 6)

    asked = asking(config(proxy.url, live={"max_rows": 3}), talk)

    assert [[each.number for each in call.questions] for call in asked.calls] == [[2, 1], [0], [5, 4, 3]]
    assert [set(call.fates) for call in asked.calls] == [
        {RequestOutcome.EXPIRED},
        {RequestOutcome.ANSWERED},
        {RequestOutcome.ANSWERED},
    ]
    assert [bool(call.sent_ns) for call in asked.calls] == [False, True, True]


def test_late_answers_are_dropped_and_what_is_late_is_not_sent(proxy: Proxy, rows: np.ndarray) -> None:
    async def talk(asked: Asked) -> None:
        await asked.up()
        proxy.hold()
        asked.put(rows[0])
        await until(lambda: asked.live.is_idle)
        asked.put(rows[1])
        await until(lambda: time.time_ns() > asked.questions[1].ts_init + 400 * MS)
        proxy.release()
        await until(lambda: len(asked.fates()) == 2)

    asked = asking(config(proxy.url, live={"deadline_ns": 400 * MS}), talk)

    assert asked.fates() == {0: RequestOutcome.LATE, 1: RequestOutcome.EXPIRED}
    late, expired = asked.calls
    assert late.ended_ns - late.questions[0].ts_init > 400 * MS
    assert "DeadlinePassed" in late.error
    assert (expired.url, expired.sent_ns, expired.outputs) == ("", 0, {})


def test_a_question_that_is_old_when_it_is_put_expires(tick_server: TorchServe, rows: np.ndarray) -> None:
    async def talk(asked: Asked) -> None:
        await asked.up()
        asked.put(rows[0], age_ns=11_000 * MS)
        asked.put(rows[1])
        await until(lambda: len(asked.fates()) == 2)

    assert asking(config(tick_server.inference_url), talk).fates() == {
        0: RequestOutcome.EXPIRED,
        1: RequestOutcome.ANSWERED,
    }


def test_one_bad_row_fails_alone_and_is_no_failure_of_the_server(tick_server: TorchServe, rows: np.ndarray) -> None:
    bad = np.full(4, np.nan, dtype=np.float32)

    async def talk(asked: Asked) -> None:
        await asked.up()
        for _ in range(4):
            for row in (rows[0], bad, rows[1]):
                asked.put(row)
            await until(lambda: len(asked.fates()) == len(asked.questions))

    asked = asking(config(tick_server.inference_url, live={"failures_to_open": 1}), talk)

    assert (
        list(asked.fates().values()) == [RequestOutcome.ANSWERED, RequestOutcome.REFUSED, RequestOutcome.ANSWERED] * 4
    )
    assert all("NotFinite" in call.error for call in asked.calls if RequestOutcome.REFUSED in call.fates)
    assert asked.states() == ["half_open", "closed"]


def test_without_a_server_questions_fail_at_once(rows: np.ndarray) -> None:
    url = nobody()

    async def talk(asked: Asked) -> None:
        asked.put(rows[0])  # nothing is connected yet
        await until(lambda: bool(asked.health))
        call = await asked.ask(rows[1])
        assert not asked.live.is_up
        assert (call.url, call.sent_ns, call.fates) == ("", 0, (RequestOutcome.FAILED,))
        assert url in call.error

    asked = asking(config(url), talk)

    assert asked.fates() == {0: RequestOutcome.FAILED, 1: RequestOutcome.FAILED}
    assert asked.states() == ["open"]
    assert "Unavailable" in asked.health[0].why


def test_a_fallback_takes_over_and_hands_back(tick_server: TorchServe, proxy: Proxy, rows: np.ndarray) -> None:
    first, second = proxy.url, tick_server.inference_url
    answered = []

    async def talk(asked: Asked) -> None:
        await until(lambda: len(asked.health) == 2)  # both are connected
        answered.append(await asked.ask(rows[0]))
        proxy.cut()
        answered.extend([await asked.ask(rows[0]) for _ in range(3)])
        proxy.open()
        await until(lambda: asked.health[-1].url == first and asked.health[-1].state == "half_open")
        answered.append(await asked.ask(rows[0]))

    asking(config(first, live={"fallback_urls": (second,), "failures_to_open": 2}), talk)

    assert [call.url for call in answered] == [first, first, first, second, first]
    assert [call.fates[0] is RequestOutcome.ANSWERED for call in answered] == [True, False, False, True, True]


def test_after_an_outage_only_new_questions_are_asked(proxy: Proxy, rows: np.ndarray) -> None:
    async def talk(asked: Asked) -> None:
        await asked.up()
        await asked.ask(rows[0])
        proxy.cut()
        while asked.live.is_up:
            await asked.ask(rows[0])
        for row in rows[:20]:
            asked.put(row)
        proxy.open()
        await until(lambda: asked.live.is_up)
        assert len(asked.fates()) == len(asked.questions)
        assert (await asked.ask(rows[1])).fates == (RequestOutcome.ANSWERED,)

    asked = asking(config(proxy.url), talk)

    assert list(asked.fates().values()) == [
        RequestOutcome.ANSWERED,
        *[RequestOutcome.FAILED] * 23,
        RequestOutcome.ANSWERED,
    ]
    assert asked.states() == ["half_open", "closed", "open", "half_open", "closed"]


def test_a_server_that_answers_too_late_is_a_server_that_fails(proxy: Proxy, rows: np.ndarray) -> None:
    async def talk(asked: Asked) -> None:
        await asked.up()
        await asked.ask(rows[0])
        proxy.hold()
        late = asked.put(rows[1])
        await until(lambda: time.time_ns() > late.ts_init + 400 * MS)
        proxy.release()
        await until(lambda: late.number in asked.fates())
        await until(lambda: asked.states()[-1] == "half_open")
        await asked.ask(rows[2])

    asked = asking(config(proxy.url, live={"deadline_ns": 400 * MS, "failures_to_open": 1}), talk)

    assert asked.fates() == {0: RequestOutcome.ANSWERED, 1: RequestOutcome.LATE, 2: RequestOutcome.ANSWERED}
    assert asked.states() == ["half_open", "closed", "open", "half_open", "closed"]
    assert "no answer within the deadline of 400 ms" in asked.health[2].why


def test_a_server_that_says_nothing_is_not_waited_for_long(proxy: Proxy, rows: np.ndarray) -> None:
    async def talk(asked: Asked) -> None:
        await asked.up()
        proxy.hold()
        call = await asked.ask(rows[0])
        assert call.fates == (RequestOutcome.FAILED,)
        assert "DeadlinePassed" in call.error
        assert "within 0.2 s" in call.error  # twice the deadline

    asking(config(proxy.url, live={"deadline_ns": 100 * MS}), talk)


def test_a_model_of_other_features_is_never_asked(tick_server: TorchServe, rows: np.ndarray) -> None:
    async def talk(asked: Asked) -> None:
        await until(lambda: bool(asked.health))
        assert (await asked.ask(rows[0])).fates == (RequestOutcome.FAILED,)

    asked = asking(config(tick_server.inference_url), talk, schema=tick_schema(window=16))

    assert asked.states() == ["open"]
    assert "SchemaMismatch" in asked.health[0].why
    assert "over 16" in asked.health[0].why


def test_a_model_that_does_not_fit_is_never_asked(tick_server: TorchServe, rows: np.ndarray) -> None:
    def fits(metadata: ModelMetadata) -> None:
        raise SchemaMismatch(f"a model of bars expected, was of {metadata.inputs}")

    async def talk(asked: Asked) -> None:
        await until(lambda: bool(asked.health))

    assert "a model of bars expected" in asking(config(tick_server.inference_url), talk, fits=fits).health[0].why


def test_errors_of_whom_it_tells_are_counted_and_nothing_else(tick_server: TorchServe, rows: np.ndarray) -> None:
    delivered: list[InferenceCall] = []

    def deliver(call: InferenceCall, split: str) -> None:
        delivered.append(call)
        raise ZeroDivisionError

    def changed(health: ModelHealth) -> None:
        raise KeyError

    async def talk(asked: Asked) -> None:
        await asked.up()
        for row in rows[:3]:
            asked.put(row)
            count = len(delivered)
            await until(lambda count=count: len(delivered) > count)

    asked = asking(config(tick_server.inference_url), talk, deliver=deliver, changed=changed)

    assert [call.fates for call in delivered] == [(RequestOutcome.ANSWERED,)] * 3
    assert asked.live.handler_errors == 5  # three answers, half_open and closed


def test_an_error_of_our_own_fails_its_questions_and_no_others(tick_server: TorchServe, rows: np.ndarray) -> None:
    async def talk(asked: Asked) -> None:
        await asked.up()
        ragged = [asked.put(rows[0]), asked.put(rows[0, :2])]  # which no actor of ours makes
        await until(lambda: len(asked.fates()) == 2)
        assert all(asked.fates()[each.number] is RequestOutcome.FAILED for each in ragged)
        assert (await asked.ask(rows[0])).fates == (RequestOutcome.ANSWERED,)

    asked = asking(config(tick_server.inference_url), talk)

    assert asked.live.handler_errors == 1


def test_an_error_of_our_own_while_connecting_is_counted_and_nothing_is_asked(tick_server: TorchServe) -> None:
    def fits(metadata: ModelMetadata) -> None:
        raise ZeroDivisionError

    async def talk(asked: Asked) -> None:
        await until(lambda: asked.live.handler_errors >= 2)  # it is tried again
        assert not asked.live.is_up

    assert asking(config(tick_server.inference_url), talk, fits=fits).states() == ["open"]


@pytest.mark.slow
def test_a_process_that_forgets_to_close_it_ends_all_the_same() -> None:
    code = f"""
import asyncio, sys
sys.path[:0] = {[str(PROJECT / "tests"), str(PROJECT / "tests" / "trading")]!r}
from live_support import Asked, config, tick_schema
async def main():
    Asked(config("http://127.0.0.1:9"), tick_schema())
    raise SystemExit(7)
asyncio.run(main())
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, timeout=60, check=False)

    assert result.returncode == 7


def test_closing_ends_what_is_left_and_nothing_comes_after(proxy: Proxy, rows: np.ndarray) -> None:
    async def talk(asked: Asked) -> None:
        await asked.up()
        proxy.hold()
        asked.put(rows[0])
        await until(lambda: asked.live.is_idle)
        asked.put(rows[1])
        asked.live.close()
        asked.put(rows[2])
        assert asked.fates() == {0: RequestOutcome.FAILED, 1: RequestOutcome.FAILED}
        proxy.release()
        await until(lambda: not threads_of("tick"))
        await asyncio.sleep(0)

    asked = asking(config(proxy.url), talk)

    assert asked.fates() == {0: RequestOutcome.FAILED, 1: RequestOutcome.FAILED}
    assert [each.number for each in asked.calls[0].questions] == [1, 0]
    assert "Stopped" in asked.calls[0].error


def test_an_archive_in_this_process_is_asked_like_a_server(
    tick_archive: Path, tick_server: TorchServe, rows: np.ndarray
) -> None:
    async def talk(asked: Asked) -> None:
        await asked.up()
        await asked.ask(rows[0])

    asked = asking(config(f"mar:{tick_archive}"), talk)

    with connect(tick_server.inference_url, "tick", token=tick_server.token) as client:
        expected = client.predict(rows[:1])
    assert asked.calls[0].digest == expected.digest
    for name, values in expected.outputs.items():
        np.testing.assert_array_equal(asked.calls[0].outputs[name], values)
    assert not asked.live.leaving(BTC, 0)
