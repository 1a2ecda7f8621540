"""Starts and restarts that are interrupted or fail leave nothing behind, or what ran before."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tick_versions import RAISES, made

from nautilus_torchserve.serving.server.processes import (
    find_java,
    is_in_use,
)
from nautilus_torchserve.serving.server.properties import set_property
from nautilus_torchserve.serving.server.start_plan import CONFIG, ServerSettings, StartFailed
from nautilus_torchserve.serving.server.state import (
    HomeInUse,
    read_server_state,
)
from nautilus_torchserve.serving.server.torchserve import (
    find_server,
    restart_server,
    start_server,
    stop_server,
)
from support import PROJECT, run_script, until


def start_until_java(settings: ServerSettings) -> subprocess.Popen[str]:
    """`serve.py start` in a process of its own, returned when Java runs and loads its models."""
    command = [
        sys.executable,
        "scripts/serve.py",
        "start",
        "tick=tick.mar",
        "--home",
        str(settings.home),
        "--model-store",
        str(settings.model_store),
        "--free-ports",
    ]
    process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)
    until(lambda: process.poll() is not None or find_java(settings.home) is not None, 60, "Java")
    assert process.poll() is None, process.communicate()
    return process


@pytest.mark.parametrize("sent", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_an_interrupted_start_leaves_nothing(settings: ServerSettings, sent: signal.Signals) -> None:
    process = start_until_java(settings)
    with pytest.raises(HomeInUse, match=f"process {process.pid}"):
        start_server(settings)

    process.send_signal(sent)

    assert process.wait(timeout=30) != 0
    assert "Traceback" not in process.stderr.read()
    assert not is_in_use(settings.home)
    assert sorted(path.name for path in settings.home.iterdir()) == [CONFIG, "logs"]


def test_a_killed_start_is_cleaned_up_by_the_next(settings: ServerSettings) -> None:
    process = start_until_java(settings)
    process.kill()
    process.wait()
    left = find_java(settings.home)

    assert left is not None
    assert find_server(settings.home) is None
    assert read_server_state(settings.home).starter == process.pid
    with pytest.raises(StartFailed, match="within 0 s"):  # far enough to see what it does first
        start_server(replace(settings, models={"tick": "tick.mar"}, ready_within_s=0.0))
    assert not psutil.pid_exists(left)
    assert not is_in_use(settings.home)


@pytest.mark.slow
def test_a_failed_restart_brings_the_running_server_back(settings: ServerSettings, store: Path) -> None:
    """A worker that cannot load is seen only when the server has been stopped."""
    start_server(replace(settings, models={"tick": "tick.mar"}))
    try:
        made(store / "tick.mar", store / "broken.mar", "1.0", None, RAISES)
        set_property(settings.home / CONFIG, "load_models", "tick=broken.mar")
        with pytest.raises(StartFailed, match=r"the restart failed: .*; what ran before runs again"):
            restart_server(settings.home)
        server = find_server(settings.home)
        assert server is not None
        assert server.management().is_ready("tick", "1.0")
        assert "broken.mar" in (settings.home / f"{CONFIG}.failed").read_text()
        restarted = run_script("scripts/serve.py", "restart", "--home", settings.home, "--json")
        assert json.loads(restarted.stdout)["models"] == [{"model": "tick", "version": "1.0", "workers": ["READY"]}]
        assert json.loads(restarted.stdout)["inference"] == server.inference_url
    finally:
        assert stop_server(settings.home) > 0
