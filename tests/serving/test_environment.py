"""What TorchServe's Java and its workers see of the environment: what they need, and none of its secrets."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.serving.server.config import with_free_ports
from nautilus_torchserve.serving.server.environment import PROPERTY, WITHHELD, server_environment, withheld_names
from nautilus_torchserve.serving.server.java import find_java_home
from nautilus_torchserve.serving.server.properties import BadProperties, format_properties, read_properties
from nautilus_torchserve.serving.server.torchserve import TorchServe
from support import PROJECT, SECRETS, until

NEEDED = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "1", "TZ": "UTC"}
DENY_LIST = "(?i).*(SECRET|TOKEN|PASSWORD|AWS_).*"


@pytest.fixture
def exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment of `NEEDED` and `SECRETS` and nothing else."""
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in (NEEDED | SECRETS).items():
        monkeypatch.setenv(name, value)


def test_neither_java_nor_a_worker_of_a_started_server_has_a_secret(tick_server: TorchServe) -> None:
    java = psutil.Process(tick_server.pid)
    workers = java.children()

    assert len(workers) >= 2
    for process in (java, *workers):
        variables = process.environ()
        assert not variables.keys() & SECRETS.keys()
        assert not [value for value in variables.values() if "leaked" in value]  # nor a PYTHONPATH
        assert variables["PATH"]
        assert variables["LOG_LOCATION"] == str(tick_server.home / "logs")


def test_the_configuration_names_the_same_variables() -> None:
    assert read_properties(PROJECT / "config.properties")[PROPERTY] == WITHHELD


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("configured", ["", DENY_LIST, "SECRET|TOKEN", "(?!PATH$)[A-Z_]+", WITHHELD])
def test_a_pattern_that_is_no_allow_list_is_extended_to_one(configured: str) -> None:
    pattern = withheld_names({PROPERTY: configured})

    assert server_environment({PROPERTY: pattern}).items() <= NEEDED.items()
    assert server_environment({PROPERTY: pattern})["PATH"] == "/bin"
    assert withheld_names({PROPERTY: pattern}) == pattern  # as it is read again at a restart


@pytest.mark.usefixtures("exactly")
def test_a_configurations_own_allow_list_holds() -> None:
    assert server_environment({PROPERTY: "(?!(PATH|DATABASE_URL)$).*"}).keys() == {"PATH", "DATABASE_URL"}


@pytest.mark.usefixtures("exactly")
def test_java_has_the_variables_that_a_configuration_names() -> None:
    assert server_environment({"keystore_pass": "$$X7$$"}).keys() == {*NEEDED, "X7"}
    assert server_environment({"enable_envvars_config": "TRUE"}).keys() == {*NEEDED, "TS_KEYSTORE_PASS"}


@given(st.text(min_size=1))
def test_no_unknown_name_is_let_through(name: str) -> None:
    names = (f"QZX{name}", f"{name}\n", f"\n{name}", f"MY_{name}", f"{name}_KEY", f"PATH\n{name}", name.lower())

    assert [name for name in names if re.fullmatch(WITHHELD, name) is None] == []


def test_an_invalid_pattern_is_refused_in_a_sentence() -> None:
    with pytest.raises(BadProperties, match="blacklist_env_vars: expected a regular expression that Java and Python"):
        withheld_names({PROPERTY: "*SECRET*"})


@contextmanager
def torchserve(command: list[str], folder: Path, store: Path, archive: str) -> Iterator[psutil.Process]:
    """TorchServe started by its own command from the project's configuration, with `SECRETS` in the environment."""
    properties = with_free_ports(read_properties(PROJECT / "config.properties"))
    properties |= {"metrics_config": str(PROJECT / "deploy" / "metrics.yaml")}
    (folder / "config.properties").write_text(format_properties(properties))
    command = [*command, "--start", "--foreground", "--ncs", "--ts-config", "config.properties"]
    command += ["--model-store", str(store), "--models", f"tick={archive}"]
    variables = os.environ | SECRETS | {"TMPDIR": str(folder), "JAVA_HOME": str(find_java_home())}
    with (folder / "console.log").open("wb") as console:
        launcher = subprocess.Popen(command, cwd=folder, env=variables, stdout=console, stderr=console)
    try:
        yield psutil.Process(launcher.pid)
    finally:
        for process in (*psutil.Process(launcher.pid).children(recursive=True), launcher):
            process.kill()
        launcher.wait()


@pytest.mark.slow
@pytest.mark.parametrize("clean", [False, True])
def test_a_secret_that_torchserves_own_command_is_given_stays_with_java(
    tick_archive: Path, tmp_path: Path, clean: bool
) -> None:
    command = [str(Path(sys.executable).with_name("torchserve"))]
    if clean:
        command = [
            sys.executable,
            "-m",
            "nautilus_torchserve.serving.server.environment",
            "config.properties",
            *command,
        ]
    with torchserve(command, tmp_path, tick_archive.parent, tick_archive.name) as launcher:
        until(lambda: any(_is_worker(process) for process in launcher.children(recursive=True)), 60, "a worker")
        java, *workers = launcher.children(recursive=True)

        assert workers
        assert [process for process in workers if process.environ().keys() & SECRETS.keys()] == []
        assert (java.environ().keys() & SECRETS.keys() == set()) is clean
        assert (launcher.environ().keys() & SECRETS.keys() == set()) is clean


def _is_worker(process: psutil.Process) -> bool:
    return any("model_service_worker" in argument for argument in process.cmdline())
