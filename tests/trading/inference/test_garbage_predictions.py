"""A live model whose server returns garbage: none of it is used, the breaker opens, the fallback responds."""

from collections.abc import Iterator

import numpy as np
import pytest
from dispatcher_support import MS, DispatcherProbe, config, run_dispatcher, until
from misbehaving_server import MODES, MisbehavingServer, described, error, good, headed, json_error, probabilities

from nautilus_torchserve.trading.inference.messages import RequestOutcome

ROW = np.array([0.5, -0.5, 0.25, 1.0], np.float32)
RIGHT = dict(zip(("buy", "sell", "hold"), probabilities(ROW[np.newaxis])[0].tolist(), strict=True))
OF_EACH_KIND = (
    *("nan", "ones", "above-1", "html-12", "short", "20-mb", "gzip", "truncated", "chunked-garbage", "length-2**70"),
    *("no-headers", "two-versions", "no-id", "other-id", "other-digest", "other-schema", "many-lines"),
    *("204", "404-html", "599", "status-text", "error-list", "error-20-mb", "error-detail-60-kb"),
    *("blames-finite-rows", "blames-as-500", "blames-without-id", "http-0.9", "closed", "never"),
)
"""Modes; tests/trading/live/test_live_garbage.py takes a run through all of them."""
ENDLESS = ("never",)
"""Modes that only the timeout ends."""
REFUSALS = {
    "refuses-every-window": json_error("422 Bad", error="BadWindow", detail="x"),
    "refuses-every-text": json_error("422 Bad", error="BadText", detail="x"),
    "too-large": error("413 Too Large", b""),
}
"""Modes in which a server refuses every request."""


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[MisbehavingServer, MisbehavingServer]]:
    """A server that misbehaves, and its fallback."""
    with MisbehavingServer() as primary, MisbehavingServer() as fallback:
        yield primary, fallback


@pytest.mark.parametrize("name", [*OF_EACH_KIND, *REFUSALS])
def test_garbage_opens_the_breaker_and_the_fallback_responds(
    name: str, servers: tuple[MisbehavingServer, MisbehavingServer]
) -> None:
    primary, fallback = servers
    primary.describe = primary.mode = good
    live = {
        "fallback_urls": (fallback.url,),
        "failures_to_open": 2,
        "refusals_to_open": 4,
        "probe_after_ns": 60_000 * MS,
        "max_probe_after_ns": 60_000 * MS,
        **({"deadline_ns": 300 * MS} if name in ENDLESS else {}),
    }
    in_time = (RequestOutcome.ANSWERED, RequestOutcome.LATE) if name in ENDLESS else (RequestOutcome.ANSWERED,)

    async def scenario(probe: DispatcherProbe) -> None:
        await until(lambda: len({health.url for health in probe.health}) == 2)  # both are connected
        assert (await probe.predict(ROW)).url == primary.url
        primary.mode = MODES[name][0] if name in MODES else REFUSALS[name]
        while (await probe.predict(ROW)).url != fallback.url:
            assert len(probe.calls) < 10
        assert (await probe.predict(ROW)).outcomes[0] in in_time

    probe = run_dispatcher(config(primary.url, live=live), scenario)

    garbage = [call for call in probe.calls[1:] if call.url == primary.url]
    assert 1 <= len(garbage) <= 4
    assert all(RequestOutcome.ANSWERED not in call.outcomes and not call.outputs for call in garbage)
    assert [health for health in probe.health if health.url == primary.url][-1].state == "open"
    answered = [call for call in probe.calls if call.outputs]
    assert all({name: values.item(0) for name, values in call.outputs.items()} == RIGHT for call in answered)
    assert probe.dispatcher.handler_errors == 0
    assert all(len(call.error) < 500 and call.error.isprintable() for call in probe.calls)


def test_a_server_that_describes_other_inputs_is_left(servers: tuple[MisbehavingServer, MisbehavingServer]) -> None:
    """The client refuses each request before it is sent, by the server's description."""
    primary, fallback = servers
    primary.mode, primary.describe = good, lambda request: described(inputs="texts")
    live = {"fallback_urls": (fallback.url,), "refusals_to_open": 4, "probe_after_ns": 60_000 * MS,
            "max_probe_after_ns": 60_000 * MS}  # fmt: skip

    async def scenario(probe: DispatcherProbe) -> None:
        await until(lambda: len({health.url for health in probe.health}) == 2)
        while (await probe.predict(ROW)).url != fallback.url:
            assert len(probe.calls) < 10

    assert [call.error[:7] for call in run_dispatcher(config(primary.url, live=live), scenario).calls] == [
        "BadType"
    ] * 4 + [""]


def test_another_archive_under_the_same_version_is_connected_to_anew(
    servers: tuple[MisbehavingServer, MisbehavingServer],
) -> None:
    """One request fails; the change is reported as health, with the new digest."""
    primary, _ = servers
    primary.describe = primary.mode = good
    other = headed(x_archive_digest="e" * 64)

    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        await probe.predict(ROW)
        primary.mode = other
        primary.describe = lambda request: described(archive_digest="e" * 64)
        call = await probe.predict(ROW)
        assert call.outcomes == (RequestOutcome.FAILED,)
        assert call.error.startswith("ModelChanged: ")
        await probe.available()
        assert (await probe.predict(ROW)).digest == "e" * 64

    probe = run_dispatcher(config(primary.url), scenario)

    assert [(health.state, health.digest[0]) for health in probe.health] == [
        ("half_open", "d"),
        ("closed", "d"),
        ("open", "d"),
        ("half_open", "e"),
        ("closed", "e"),
    ]
