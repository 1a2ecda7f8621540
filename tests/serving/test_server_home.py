"""State of a server in its home: damaged, or of another process; commands that change one home."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from signed_archives import keys

from nautilus_torchserve.files.state_file import DamagedState
from nautilus_torchserve.serving.server.processes import (
    CannotEnd,
    end_processes,
    is_in_use,
    is_server,
    start_time_s,
)
from nautilus_torchserve.serving.server.start_plan import CONFIG, ServerSettings, StartFailed
from nautilus_torchserve.serving.server.state import (
    STATE,
    HomeInUse,
    ServerState,
    locked_home,
    write_server_state,
)
from nautilus_torchserve.serving.server.torchserve import (
    TorchServe,
    find_server,
    restart_server,
    start_server,
    stop_server,
)
from nautilus_torchserve.user_error import UserError
from support import until

DAMAGED_STATES = [
    b"",
    b" \n",
    b"{",
    b"[]",
    b"null",
    b"\xff",
    b'{"pid": "1"}',
    b'{"pid": 1, "properties": {}}',
    b"[" * 100_000,
    b'{"pid": 1e400, "properties": {"model_store": "x"}}',
    b'{"pid": -1, "properties": {"model_store": "x"}}',
    b'{"pid": ' + b"9" * 400 + b', "properties": {"model_store": "x"}}',
    b'{"pid": 1, "properties": {"model_store": 7}}',
    b'{"pid": 1, "properties": {"model_store": "x", "inference_address": "unix:/x"}}',
]


@pytest.mark.parametrize("content", [*DAMAGED_STATES, None], ids=range(len(DAMAGED_STATES) + 1))
def test_a_running_server_is_found_whatever_its_state_file_holds(
    tick_server: TorchServe, restored: Path, content: bytes | None
) -> None:
    (restored / STATE).unlink()
    (restored / STATE).mkdir() if content is None else (restored / STATE).write_bytes(content)

    server = find_server(restored)

    assert server is not None
    assert (server.pid, server.management_url) == (tick_server.pid, tick_server.management_url)
    with pytest.raises(StartFailed, match=f"expected no running server, got one with process id {tick_server.pid}"):
        start_server(ServerSettings({"tick": "tick.mar"}, tick_server.model_store, restored, free_ports=True))
    (restored / CONFIG).write_text("\\")
    with pytest.raises(DamagedState, match=r"server\.json: expected the state of a server .*stop"):
        find_server(restored)


def test_a_server_that_no_state_records_is_not_started_beside(tick_server: TorchServe, restored: Path) -> None:
    (restored / STATE).unlink()

    with pytest.raises(StartFailed, match=r"got processes that server\.json does not record: .*serve stop"):
        start_server(ServerSettings({"tick": "tick.mar"}, tick_server.model_store, restored, free_ports=True))
    assert tick_server.is_running()


@pytest.mark.parametrize("content", DAMAGED_STATES, ids=range(len(DAMAGED_STATES)))
def test_a_damaged_state_is_ignored_where_no_server_runs(tmp_path: Path, content: bytes) -> None:
    (tmp_path / STATE).write_bytes(content)

    assert find_server(tmp_path) is None
    assert stop_server(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_the_state_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / STATE).mkdir()
    (tmp_path / STATE / "mine.txt").touch()

    assert find_server(tmp_path) is None
    assert stop_server(tmp_path) == 0
    assert [path.name for path in tmp_path.rglob("*.txt")] == ["mine.txt"]
    assert not (tmp_path / STATE).exists()


def test_another_process_with_the_same_id_is_left_alone(tick_server: TorchServe, tmp_path: Path) -> None:
    """Even one that is a TorchServe, of another home; and one that only looks like this home's."""
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", "input()", "org.pytorch.serve.ModelServer", str(home / CONFIG)]
    alike = subprocess.Popen(command, stdin=subprocess.PIPE)
    properties = dict(tick_server.properties)
    try:
        for pid, started_s in [(tick_server.pid, None), (os.getpid(), None), (1, None), (alike.pid, 1.0)]:
            write_server_state(home, ServerState(properties, pid, started_s))
            assert find_server(home) is None
            assert not is_server(pid, home, started_s)
        assert is_server(alike.pid, home, start_time_s(alike.pid))
        assert not is_server(2**31 - 1, home)
    finally:
        alike.kill()
        alike.wait()
    assert stop_server(home) == 0
    assert tick_server.is_running()


def test_one_command_at_a_time_changes_a_home(settings: ServerSettings) -> None:
    with locked_home(settings.home):
        write_server_state(settings.home, ServerState({"model_store": "x"}, starter=4242))
        for command in (lambda: start_server(settings), lambda: stop_server(settings.home)):
            with pytest.raises(HomeInUse, match=r"expected no other start, restart or stop, got one by process 4242"):
                command()
    assert find_server(settings.home) is None


def test_a_process_that_may_not_be_ended_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "input()", "org.pytorch.serve.ModelServer", str(tmp_path / CONFIG)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    until(lambda: is_in_use(tmp_path))

    def denied(self: psutil.Process) -> None:
        raise psutil.AccessDenied(self.pid)

    with monkeypatch.context() as patched:  # there is one user only in a test
        patched.setattr(psutil.Process, "suspend", denied)
        with pytest.raises(CannotEnd, match=f"end process {process.pid}, .*run this command as the user"):
            end_processes(tmp_path)
    assert end_processes(tmp_path) == 1
    assert not psutil.pid_exists(process.pid)
    process.wait(timeout=10)


def test_a_start_refuses_to_delete_files_of_others(settings: ServerSettings, store: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "mine.txt").touch()
    with pytest.raises(StartFailed, match=r"got one with tmp but no config\.properties: a start would empty tmp"):
        start_server(replace(settings, home=tmp_path))
    (settings.home / "tmp").mkdir(parents=True)
    (settings.home / CONFIG).touch()
    shutil.copytree(store, settings.home / "tmp" / "store")
    with pytest.raises(StartFailed, match="expected a model store outside of"):
        start_server(replace(settings, model_store=settings.home / "tmp" / "store"))
    with pytest.raises(StartFailed, match=r"`nautilus-torchserve serve restart` starts from it"):
        start_server(replace(settings, config=settings.home / CONFIG))
    with pytest.raises(StartFailed, match="printable UTF-8"):
        start_server(replace(settings, home=tmp_path / "\udcff"))
    assert (tmp_path / "tmp" / "mine.txt").exists()
    assert (settings.home / "tmp" / "store" / "tick.mar").exists()


def test_a_restart_checks_before_it_stops(tick_server: TorchServe, restored: Path, tmp_path: Path) -> None:
    """Each of these was found only after the healthy server had been ended."""
    config = restored / CONFIG
    _, trusted = keys(tmp_path)
    whole = config.read_text()
    for damage, reason in (
        ("metrics_config=/nowhere.yaml", "metrics_config=/nowhere.yaml: expected a file"),
        ("inference_address=unix:/x", "inference_address"),
        ("models_snapshot", "expected key=value"),
        ("model_snapshot={", "model_snapshot: expected"),
        (f"model_store={tmp_path / 'gone'}", "expected a model store"),
        ("load_models=tick=gone.mar", r"gone\.mar"),
        (f"trusted_keys={trusted}", "unsigned"),
        (f"trusted_keys={tmp_path / 'none'}", "expected a folder of public keys"),
        ("management_address=http://127.0.0.1:1", "management_address=.*expected a free port|Permission"),
    ):
        if damage.startswith("management") and os.geteuid() == 0:
            continue
        config.write_text(f"{whole}\n{damage}\n")
        with pytest.raises(UserError, match=reason):
            restart_server(restored)
        assert tick_server.is_running()
    config.unlink()
    with pytest.raises(StartFailed, match="expected a home in which a server was started"):
        restart_server(restored)
    assert tick_server.is_running()
