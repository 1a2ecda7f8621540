"""Requests beside the event loop while the server itself changes: versions, tokens, a restart."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from dispatcher_support import BTC, ETH, DispatcherProbe, config, of_other_features, run_dispatcher, until
from tcp_proxy import Proxy

from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.server.torchserve import (
    ServerSettings,
    TorchServe,
    find_server,
    restart_server,
    start_server,
)
from nautilus_torchserve.serving.tokens import KEY_FILE, NoToken, read_key
from nautilus_torchserve.trading.inference.messages import RequestOutcome
from nautilus_torchserve.trading.tick.actor import InferenceActorConfig
from nautilus_torchserve.traffic.records import CallWindow
from nautilus_torchserve.traffic.split import Kind, Split
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.wire.errors import SchemaMismatch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tick_archive: Path, tick_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a server with ``tick`` 1.0, 1.1 and 1.2, the last of which was trained on other features."""
    folder = tmp_path_factory.mktemp("live")
    store = folder / "store"
    store.mkdir()
    shutil.copyfile(tick_archive, store / "tick.mar")
    build_archive("tick", tick_run, "1.1", folder).path.rename(store / "tick-1.1.mar")
    of_other_features(tick_archive, store / "tick-1.2.mar", "1.2")
    settings = ServerSettings({"tick": "tick.mar"}, store, folder / "home", free_ports=True)
    try:
        add_versions(start_server(settings))
        yield settings.home
    finally:
        running(settings.home).stop()


def running(home: Path) -> TorchServe:
    server = find_server(home)
    assert server is not None
    return server


def add_versions(server: TorchServe) -> None:
    manager = server.management()
    for version in ("1.1", "1.2"):
        manager.register(f"tick-{version}.mar", model_name="tick")
    for version in ("1.1", "1.2"):
        manager.wait_ready("tick", version)
    manager.set_default("tick", "1.0")


def live(server: TorchServe, renewed: bool = False, **options: object) -> InferenceActorConfig:
    """Of an actor that knows where the server keeps its tokens."""
    tokens = {"token_file": str(server.home / KEY_FILE), **({"renew_url": server.management_url} if renewed else {})}
    return config(server.inference_url, live={**tokens, **options})


def test_a_swap_is_noticed_and_a_held_instrument_stays(home: Path, rows: np.ndarray) -> None:
    server = running(home)
    manager = server.management()

    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        probe.exposed.add(BTC)
        first = [(await probe.predict(rows[0], each)).version for each in (BTC, ETH)]
        await asyncio.to_thread(manager.set_default, "tick", "1.1")
        swapped = [(await probe.predict(rows[0], each)).version for each in (BTC, ETH)]
        assert (first, swapped) == (["1.0", "1.0"], ["1.0", "1.1"])
        assert (probe.dispatcher.pending_version_change(BTC, 0), probe.dispatcher.pending_version_change(ETH, 0)) == (
            True,
            False,
        )
        probe.exposed.clear()
        assert (await probe.predict(rows[0], BTC)).version == "1.1"

    try:
        probe = run_dispatcher(live(server), scenario)
    finally:
        manager.set_default("tick", "1.0")

    assert set(probe.outcomes().values()) == {RequestOutcome.ANSWERED}
    assert [(health.state, health.version) for health in probe.health] == [
        ("half_open", "1.0"),
        ("closed", "1.0"),
        ("closed", "1.1"),
    ]
    assert len({health.digest for health in probe.health}) == 2


def test_a_swap_is_noticed_where_every_instrument_has_exposure(home: Path, rows: np.ndarray) -> None:
    server = running(home)
    manager = server.management()

    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        await probe.predict(rows[0])
        probe.exposed.add(BTC)
        await asyncio.to_thread(manager.set_default, "tick", "1.1")
        await until(lambda: probe.dispatcher.pending_version_change(BTC, 0))
        assert (await probe.predict(rows[0])).version == "1.0"

    try:
        run_dispatcher(live(server), scenario)
    finally:
        manager.set_default("tick", "1.0")


def test_an_instrument_with_exposure_stays_with_its_version_on_another_server(home: Path, rows: np.ndarray) -> None:
    server = running(home)
    manager = server.management()
    with Proxy(server.inference_url) as proxy:

        async def scenario(probe: DispatcherProbe) -> None:
            await until(lambda: len(probe.health) == 2)
            assert (await probe.predict(rows[0])).version == "1.0"
            probe.exposed.add(BTC)
            await asyncio.to_thread(manager.set_default, "tick", "1.1")
            proxy.cut()
            assert (await probe.predict(rows[0])).outcomes == (RequestOutcome.FAILED,)
            answered = [await probe.predict(rows[0], each) for each in (BTC, ETH)]
            assert [each.url for each in answered] == [server.inference_url] * 2
            assert [each.version for each in answered] == ["1.0", "1.1"]

        fallback = {"fallback_urls": (server.inference_url,), "failures_to_open": 1, "probe_after_ns": 10**10}
        tokens = {"token_file": str(home / KEY_FILE), "max_probe_after_ns": 10**10}
        try:
            run_dispatcher(config(proxy.url, live={**tokens, **fallback}), scenario)
        finally:
            manager.set_default("tick", "1.0")


def test_an_unregistered_version_is_left_and_its_server_is_not(home: Path, rows: np.ndarray) -> None:
    server = running(home)
    manager = server.management()

    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        assert (await probe.predict(rows[0])).version == "1.1"
        probe.exposed.add(BTC)
        await asyncio.to_thread(manager.set_default, "tick", "1.0")
        await asyncio.to_thread(manager.unregister, "tick", "1.1")
        gone, left = await probe.predict(rows[0]), await probe.predict(rows[0])
        assert gone.error.startswith("UnknownModel")
        assert left.version == "1.0"

    manager.set_default("tick", "1.1")
    try:
        probe = run_dispatcher(live(server, failures_to_open=1), scenario)
    finally:
        manager.set_default("tick", "1.0")
        manager.register("tick-1.1.mar", model_name="tick")
        manager.wait_ready("tick", "1.1")

    assert probe.states() == ["half_open", "closed"]


def test_swap_to_other_features_yields_no_predictions_until_it_is_undone(home: Path, rows: np.ndarray) -> None:
    server = running(home)
    manager = server.management()

    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        await probe.predict(rows[0])
        await asyncio.to_thread(manager.set_default, "tick", "1.2")
        assert (await probe.predict(rows[0])).error.startswith("SchemaMismatch")
        assert not probe.dispatcher.is_available
        await asyncio.to_thread(manager.set_default, "tick", "1.0")
        await until(lambda: probe.dispatcher.is_available)
        await probe.predict(rows[0])

    try:
        probe = run_dispatcher(live(server), scenario)
    finally:
        manager.set_default("tick", "1.0")

    assert list(probe.outcomes().values()) == [RequestOutcome.ANSWERED, RequestOutcome.FAILED, RequestOutcome.ANSWERED]
    assert {call.version for call in probe.calls} == {"1.0", ""}


def test_client_refuses_responses_of_a_version_of_other_features(home: Path, rows: np.ndarray) -> None:
    server = running(home)
    manager = server.management()

    with connect(server.inference_url, "tick", schema=tick_schema(), token=server.token) as client:
        client.predict(rows)
        manager.set_default("tick", "1.2")
        try:
            with pytest.raises(SchemaMismatch, match=r"expected an answer by a model trained on .*, got one by 1\.2"):
                client.predict(rows)
        finally:
            manager.set_default("tick", "1.0")
        client.predict(rows)


def test_a_split_decides_the_version(home: Path, rows: np.ndarray, tmp_path: Path) -> None:
    server, url = running(home), f"sqlite:///{tmp_path}/traffic.db"
    with TrafficStore(url) as store:
        store.start(Split("canary-1", "tick", Kind.CANARY, "1.0", "1.1", 1.0))

    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        assert (await probe.predict(rows[0])).version == "1.1"
        await until(lambda: [health.version for health in probe.health] == ["1.0", "1.1"])

    traffic = {"token_file": str(home / KEY_FILE)}
    probe = run_dispatcher(config(server.inference_url, live=traffic, traffic=url), scenario)

    assert probe.splits == ["canary-1"]
    with TrafficStore(url) as store:
        assert [(each.version, each.requests, each.errors) for each in store.read(CallWindow, "canary-1")] == [
            ("1.1", 1, 0)
        ]


def test_token_renewed_elsewhere_costs_no_response(home: Path, rows: np.ndarray) -> None:
    server = running(home)

    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        for row in rows[:3]:
            before = server.token
            await asyncio.to_thread(renew, server)
            assert server.token != before
            assert (await probe.predict(row)).outcomes == (RequestOutcome.ANSWERED,)

    assert run_dispatcher(live(server, failures_to_open=1), scenario).states() == ["half_open", "closed"]


def test_a_token_is_renewed_before_it_ends(home: Path, rows: np.ndarray) -> None:
    server = running(home)
    before = server.token
    a_year_ns = 365 * 86_400 * 10**9  # so any token is about to end

    def is_renewed() -> bool:
        try:
            return server.token != before
        except NoToken:  # TorchServe is writing the file
            return False

    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        await until(is_renewed)
        for row in rows[:20]:
            assert (await probe.predict(row)).outcomes == (RequestOutcome.ANSWERED,)

    run_dispatcher(live(server, renewed=True, renew_before_ns=a_year_ns, failures_to_open=1), scenario)


def test_a_refused_token_is_renewed(home: Path, rows: np.ndarray) -> None:
    server = running(home)
    ended = (home / KEY_FILE).read_text()
    renew(server)
    (home / KEY_FILE).write_text(ended)  # with a token that the server does not take any more

    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        assert (await probe.predict(rows[0])).outcomes == (RequestOutcome.ANSWERED,)

    assert run_dispatcher(live(server, renewed=True), scenario).states() == ["half_open", "closed"]
    assert (home / KEY_FILE).read_text() != ended


def test_without_a_way_to_renew_it_a_refused_token_is_a_failure(home: Path, tmp_path: Path) -> None:
    server = running(home)
    shutil.copyfile(home / KEY_FILE, tmp_path / KEY_FILE)
    renew(server)

    async def scenario(probe: DispatcherProbe) -> None:
        await until(lambda: bool(probe.health))

    probe = run_dispatcher(config(server.inference_url, live={"token_file": str(tmp_path / KEY_FILE)}), scenario)

    assert probe.states() == ["open"]
    assert "Unauthorized" in probe.health[0].why


def test_a_killed_server_gets_requests_again_when_it_is_back(home: Path, rows: np.ndarray) -> None:
    tokens = []

    async def scenario(probe: DispatcherProbe) -> None:
        await probe.available()
        await probe.predict(rows[0])
        tokens.append(running(home).token)
        back = asyncio.create_task(asyncio.to_thread(killed_and_back, home))
        while not back.done() or probe.outcomes()[len(probe.requests) - 1] is not RequestOutcome.ANSWERED:
            probe.submit(rows[0])
            await asyncio.sleep(0.02)
            await until(lambda: len(probe.outcomes()) == len(probe.requests))
        tokens.append((await back).token)

    probe = run_dispatcher(live(running(home)), scenario)

    assert tokens[0] != tokens[1]
    assert {*probe.outcomes().values()} == {RequestOutcome.ANSWERED, RequestOutcome.FAILED}
    assert probe.states()[:3] == ["half_open", "closed", "open"]
    assert probe.states()[-2:] == ["half_open", "closed"]
    waits_ns = [
        call.ended_ns - request.ts_init for call in probe.calls if not call.sent_ns for request in call.requests
    ]
    assert np.median(waits_ns) < 20_000_000  # none waits for the server to come back


def killed_and_back(home: Path) -> TorchServe:
    running(home).stop()
    time.sleep(1.0)
    return restart_server(home)


def renew(server: TorchServe) -> None:
    """Renew the token as another process may: the previous one is refused from now on."""
    api_key = read_key(server.home / KEY_FILE, "API").token
    answer = requests.get(
        f"{server.management_url}/token?type=inference", headers={"Authorization": f"Bearer {api_key}"}, timeout=10
    )
    answer.raise_for_status()
