"""Configurations that others wrote: started as TorchServe would start them, or refused by file and line."""

import json
import socket
from pathlib import Path
from zipfile import ZipFile

import pytest

from nautilus_torchserve.serving.server.config import (
    ADDRESSES,
    address_of,
    check_ports_are_free,
    configured_models,
    free_ports,
    launcher_environment,
    read_config,
    with_free_ports,
)
from nautilus_torchserve.serving.server.properties import BadProperties
from nautilus_torchserve.serving.server.torchserve import ServerSettings, StartFailed, start_server
from support import call_script

LOCAL = dict.fromkeys(ADDRESSES, "http://127.0.0.1:1")


def write(folder: Path, *lines: str) -> Path:
    path = folder / "config.properties"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("http://127.0.0.1:9080", "http://127.0.0.1:9080"),
        ("HTTPS://host.example:9443", "https://host.example:9443"),
        ("http://0.0.0.0", "http://0.0.0.0:8081"),
        ("https://0.0.0.0", "https://0.0.0.0:8444"),
        (None, "http://127.0.0.1:8081"),
    ],
)
def test_an_address_is_what_torchserve_binds(value: str | None, url: str) -> None:
    assert address_of({} if value is None else {"management_address": value}, "management_address").url == url


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("inference_address=unix:/tmp/ts.sock", "'unix:/tmp/ts.sock': .*over TCP"),
        ("inference_address=unix:relative", "'unix:relative'"),
        ("inference_address=http://[::1]:8080", r"'http://\[::1\]:8080': .*no IPv6"),
        ("inference_address=http://127.0.0.1:8080 ", "'http://127.0.0.1:8080 '"),
        ("inference_address=127.0.0.1:8080", "'127.0.0.1:8080'"),
        ("inference_address=http://127.0.0.1:8080/", "'http://127.0.0.1:8080/'"),
        ("inference_address=", "''"),
        ("metrics_address=http://127.0.0.1:0", "from 1 to 65534, got 'http://127.0.0.1:0'"),
        ("metrics_address=http://127.0.0.1:65535", "from 1 to 65534"),
        ("grpc_inference_port=7o70", "from 1 to 65534, got '7o70'"),
        ("initial_worker_port=-1", "from 1 to 65534, got '-1'"),
        ("model_snapshot={", "JSON"),
        ('model_snapshot=["tick"]', "JSON"),
        ("inference_address=http://127.0.0.1:$$NO_SUCH_PORT$$", "environment variable NO_SUCH_PORT, got none"),
    ],
)
def test_a_configuration_that_cannot_be_started_is_refused_with_its_line(tmp_path: Path, line: str, got: str) -> None:
    path = write(tmp_path, "# a comment", line, "default_workers_per_model=1")

    with pytest.raises(BadProperties, match=rf"^{path}:2: {line.partition('=')[0]}: expected .*{got}"):
        read_config(path)


def test_no_configuration_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.properties"):
        with pytest.raises(BadProperties, match=f"^{path}: expected a configuration, got no file"):
            read_config(path)


def test_a_refusal_is_one_sentence_and_nothing_is_begun(tmp_path: Path) -> None:
    path = write(tmp_path, "management_address: unix:/tmp/ts.sock")

    result = call_script("scripts/serve.py", "start", "--config", path, "--home", tmp_path / "home")

    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {path}:1: management_address: expected http://HOST:PORT")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "home").exists()


def test_paths_are_those_of_the_configurations_folder(tmp_path: Path) -> None:
    path = write(tmp_path, "metrics_config=deploy/metrics.yaml", "model_store=/store", "keystore=../keys.p12")

    properties = read_config(path)

    assert properties["metrics_config"] == str(tmp_path / "deploy" / "metrics.yaml")
    assert properties["model_store"] == "/store"
    assert properties["keystore"] == str(tmp_path.parent / "keys.p12")


def test_environment_variables_count_as_with_torchserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT_OF_OURS", "9080")
    monkeypatch.setenv("TS_METRICS_ADDRESS", "http://127.0.0.1:9082")
    lines = ["inference_address=http://127.0.0.1:$$PORT_OF_OURS$$", "keystore_pass=$$SECRET$$"]

    plain = read_config(write(tmp_path, *lines))
    assert plain["inference_address"] == "http://127.0.0.1:9080"
    assert plain["keystore_pass"] == "$$SECRET$$"  # TorchServe's alone, and not to be written anywhere
    assert "metrics_address" not in plain

    overridden = read_config(write(tmp_path, *lines, "enable_envvars_config=true"))
    assert overridden["metrics_address"] == "http://127.0.0.1:9082"
    assert "TS_METRICS_ADDRESS" not in launcher_environment(overridden)  # would win over --free-ports


def archive(path: Path, name: str) -> None:
    manifest = {"model": {"modelName": name, "modelVersion": "1.0", "handler": "handler.py"}}
    with ZipFile(path, "w") as file:
        file.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))


def test_load_models_are_read_as_torchserve_reads_them(tmp_path: Path) -> None:
    archive(tmp_path / "Spread Model v2.mar", "spread")
    archive(tmp_path / "tick.mar", "tick")

    def models(value: str) -> dict[str, str]:
        return configured_models({"load_models": value}, tmp_path)

    assert models("a=tick.mar,b=x=y.mar") == {"a": "tick.mar", "b": "x=y.mar"}
    assert models("Spread Model v2.mar,") == {"spread": "Spread Model v2.mar"}
    assert models("ALL") == {"spread": "Spread Model v2.mar", "tick": "tick.mar"}
    assert models("") == configured_models({}, tmp_path) == {}


@pytest.mark.parametrize("models", [{"a,b": "tick.mar"}, {"a": "tick,mar"}])
def test_a_comma_is_refused(tmp_path: Path, models: dict[str, str]) -> None:
    with pytest.raises(StartFailed, match="without a comma"):
        start_server(ServerSettings(models, tmp_path, tmp_path / "home"))


def test_free_ports_leave_nothing_of_the_configuration() -> None:
    properties = with_free_ports({"inference_address": "unix:/x", "grpc_inference_port": "z", "job_queue_size": "7"})

    check_ports_are_free(properties)
    assert properties["job_queue_size"] == "7"


@pytest.mark.parametrize("host", ["a" * 300, "\udcff", "x..y", "\0"])
def test_a_host_that_cannot_be_one_is_named(host: str) -> None:
    with pytest.raises(BadProperties, match=r"metrics_address=http://.*expected a free port, got"):
        check_ports_are_free({**with_free_ports({}), "metrics_address": f"http://{host}:9"})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_port_in_use_is_named_by_its_property(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free = with_free_ports({})
        with pytest.raises(BadProperties, match=f"metrics_address=http://{host}:.*in use"):
            check_ports_are_free({**free, "metrics_address": f"http://{host}:{taken.getsockname()[1]}"})
    assert len(set(free_ports(3))) == 3
