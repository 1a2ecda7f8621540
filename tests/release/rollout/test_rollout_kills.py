"""kill -9 of a rollout at each of its steps, of a worker, of the server: what served serves on, or is recovered."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from deployment import QUICK, Deployment
from msgspec import structs
from tick_versions import RAISES

from benchmarks.callers import Callers
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.release.rollout.gates import GateFailed
from nautilus_torchserve.release.rollout.journal import PendingChange, locked, read_journal, write_journal
from nautilus_torchserve.release.rollout.repair import repair, undo
from nautilus_torchserve.release.rollout.report import RolloutReport
from nautilus_torchserve.release.rollout.rollout import register
from nautilus_torchserve.release.rollout.status import model_status
from nautilus_torchserve.release.rollout.target import local_target
from nautilus_torchserve.release.rollout.versions import archive_name
from nautilus_torchserve.release.rollout.workers import wait_loaded
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.server.management import ManagementError
from nautilus_torchserve.serving.server.torchserve import ServerSettings, find_server, restart_server, start_server

FreshVersion = Callable[[], str]
UNDONE = ["adopt", "store", "register", "load", "golden", "parity", "latency", "set default", "watch"]
"""Steps at whose begin a killed rollout is undone."""
FINISHED = ["remember", "retire"]
"""Steps after all gates: a killed rollout is finished."""


def state(deployment: Deployment) -> tuple[str | None, list[str], set[str]]:
    """Return default version, versions and files of the store, without the serving archive's own copy."""
    manager = deployment.server.management()
    default = manager.default_version("tick")
    return default, sorted(manager.versions("tick")), deployment.files() - {archive_name("tick", str(default))}


def register_until(deployment: Deployment, archive: Path, step: str) -> None:
    """Register in a process of its own that is killed by SIGKILL when a step begins."""

    def kill(text: str) -> None:
        if text.endswith(f": {step}"):
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(
        target=register, args=(deployment.target, "tick", archive, deployment.trusted, QUICK), kwargs={"progress": kill}
    )
    process.start()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("step", [pytest.param(step, marks=[pytest.mark.slow] * (step != "watch")) for step in UNDONE])
def test_rollout_killed_before_its_gates_are_passed_is_undone(
    deployment: Deployment, fresh_version: FreshVersion, rows: np.ndarray, step: str
) -> None:
    before, archive = state(deployment), deployment.make(fresh_version())

    with Callers(deployment.server, "tick", rows, count=2, pause_s=0.005) as callers:
        register_until(deployment, archive, step)
        left = model_status(deployment.target, "tick").left
        repaired = repair(deployment.target, lambda _: None)

    assert callers.errors == []
    assert state(deployment) == before
    assert read_journal(deployment.target, "tick").under_way is None
    if step != "adopt":  # at that one nothing had begun
        assert left is not None
        assert "repair" in left
        assert len(repaired) == 1
    assert repair(deployment.target, lambda _: None) == []


def test_registration_that_arrives_after_its_rollout_was_interrupted_is_undone(
    deployment: Deployment, fresh_version: FreshVersion
) -> None:
    """TorchServe carries on with a request whose client has gone."""
    before, version = state(deployment), fresh_version()
    archive = deployment.make(version)
    file = archive_name("tick", version)
    shutil.copyfile(archive, deployment.server.model_store / file)
    under_way = PendingChange("register", version, before[0], "register", file, registers=True)
    address = urlsplit(deployment.server.management_url)
    body = json.dumps({"url": file, "model_name": "tick", "initial_workers": 1, "synchronous": False}).encode()
    head = (
        f"POST /models HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: Bearer {deployment.server.management_token}\r\n\r\n"
    )

    with locked(deployment.target, "tick", "register"):
        write_journal(
            deployment.target, "tick", structs.replace(read_journal(deployment.target, "tick"), under_way=under_way)
        )
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(head.encode() + body)
        undo(deployment.target, "tick", 0.0)

    assert state(deployment) == before
    assert version not in deployment.server.management().versions("tick")


@pytest.mark.slow
@pytest.mark.parametrize("step", FINISHED)
def test_rollout_killed_after_its_gates_is_finished(
    deployment: Deployment, fresh_version: FreshVersion, step: str
) -> None:
    version = fresh_version()

    register_until(deployment, deployment.make(version), step)
    repaired = repair(deployment.target, lambda _: None)

    assert len(repaired) == 1
    assert deployment.server.management().default_version("tick") == version
    assert read_journal(deployment.target, "tick").defaults[-1] == version
    assert len(deployment.server.management().versions("tick")) == 2


@pytest.mark.slow
def test_next_rollout_recovers_from_a_killed_one(deployment: Deployment, fresh_version: FreshVersion) -> None:
    killed, version = fresh_version(), fresh_version()

    register_until(deployment, deployment.make(killed), "watch")
    report = register(deployment.target, "tick", deployment.make(version), deployment.trusted, QUICK)

    assert report.ok, report.as_text()
    assert report.steps[0].name == "recover"
    assert killed not in deployment.server.management().versions("tick")


@pytest.mark.slow
def test_worker_killed_while_its_version_is_watched_undoes_it(
    deployment: Deployment, fresh_version: FreshVersion, rows: np.ndarray
) -> None:
    before, version = state(deployment), fresh_version()

    def kill_worker(text: str) -> None:
        if text.endswith(": watch"):
            (worker,) = deployment.server.management().versions("tick")[version]["workers"]
            os.kill(worker["pid"], signal.SIGKILL)

    limits = replace(QUICK, watch_s=3.0)
    report = register(
        deployment.target, "tick", deployment.make(version), deployment.trusted, limits, progress=kill_worker
    )

    assert (report.outcome, report.failed_at) == ("undone", "watch")
    assert state(deployment) == before
    with connect(deployment.server.inference_url, "tick", token=deployment.server.token) as client:
        assert client.predict(rows[:1]).version == before[0]


def kill_server(deployment: Deployment) -> None:
    java = psutil.Process(deployment.server.pid)
    family = [java, *java.children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=10)


@pytest.mark.slow
def test_server_killed_in_a_rollout_comes_back_as_it_was_before(
    deployment: Deployment, fresh_version: FreshVersion
) -> None:
    assert register(deployment.target, "tick", deployment.make(fresh_version()), deployment.trusted, QUICK).ok
    target, before, version = deployment.target, state(deployment), fresh_version()

    def at_watch(text: str) -> None:
        if text.endswith(": watch"):
            kill_server(deployment)

    report = register(target, "tick", deployment.make(version), deployment.trusted, QUICK, progress=at_watch)
    restart_server(deployment.server.home)
    came_back = (
        deployment.server.management().default_version("tick"),
        sorted(deployment.server.management().versions("tick")),
    )
    repaired = repair(local_target(deployment.server.home), lambda _: None)

    assert (report.outcome, report.failed_at) == ("left", "watch")
    assert came_back == before[:2]
    assert len(repaired) == 1
    assert state(deployment) == before


@pytest.mark.slow
def test_versions_default_and_workers_survive_the_servers_death(
    tick_archive: Path, tick_run: Path, tmp_path: Path, deployment: Deployment, fresh_version: FreshVersion
) -> None:
    """Even where the next version was packed over the archive that serves."""
    store = tmp_path / "store"
    store.mkdir()
    shutil.copyfile(tick_archive, store / "tick.mar")
    home = tmp_path / "home"
    server = start_server(ServerSettings({"tick": "tick.mar"}, store, home, free_ports=True))
    own = Deployment(server, tick_archive, deployment.key, deployment.trusted, tmp_path)
    try:
        server.management().scale_up("tick", "1.0", 2)
        wait_loaded(server.management(), "tick", "1.0", 2, 30)
        report: RolloutReport = register(own.target, "tick", own.make(version := fresh_version()), own.trusted, QUICK)
        build_archive("tick", tick_run, "9.9", store)  # over tick.mar, of which 1.0 was registered
        kill_server(own)
        server = restart_server(home)

        workers = {
            name: len(description["workers"]) for name, description in server.management().versions("tick").items()
        }
        assert report.ok, report.as_text()
        assert server.management().default_version("tick") == version
        assert workers == {"1.0": 2, version: 2}
        assert [step.name for step in report.steps if step.name == "adopt"] == ["adopt"]
    finally:
        if (running := find_server(home)) is not None:
            running.stop()


@pytest.mark.slow
def test_ghost_that_was_made_the_default_is_replaced(
    deployment: Deployment, fresh_version: FreshVersion, rows: np.ndarray
) -> None:
    """TorchServe makes a version without workers the default one without notice."""
    version, manager = fresh_version(), deployment.server.management()
    archive = deployment.make(version, RAISES)
    shutil.copyfile(archive, deployment.server.model_store / archive.name)
    good = manager.default_version("tick")
    manager.register(archive.name, model_name="tick", batch_size=1, max_batch_delay=1)
    with pytest.raises(GateFailed):
        wait_loaded(manager, "tick", version, 1, 30)
    manager.set_default("tick", version)

    (ghost,) = [version for version in model_status(deployment.target, "tick").versions if version.ghost]
    repaired = repair(deployment.target, lambda _: None)

    assert ghost.version == version
    assert any("default version again" in text for text in repaired)
    assert manager.default_version("tick") == good
    assert version not in manager.versions("tick")
    (deployment.server.model_store / archive.name).unlink()
    with connect(deployment.server.inference_url, "tick", token=deployment.server.token) as client:
        assert client.predict(rows[:1]).version == good


def test_registering_at_a_server_that_is_not_there_changes_nothing(
    deployment: Deployment, fresh_version: FreshVersion
) -> None:
    files = deployment.files()

    report = register(
        replace(deployment.target, management_url="http://127.0.0.1:9", metrics_url=None),
        "tick",
        deployment.make(fresh_version()),
        deployment.trusted,
        QUICK,
    )

    assert (report.ok, report.failed_at) == (False, "begin")
    assert "no answer" in str(report.reason)
    assert deployment.files() == files
    with pytest.raises(ManagementError):
        repair(replace(deployment.target, management_url="http://127.0.0.1:9"), lambda _: None)
