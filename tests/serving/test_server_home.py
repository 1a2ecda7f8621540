"""What a home says of its server: damaged, of another process, left by a start that was killed or by rollouts."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import psutil
import pytest
from signed_archives import keys
from tick_versions import RAISES, made

from nautilus_torchserve.files.state_file import DamagedState
from nautilus_torchserve.release.rollout.journal import Journal, remembered_digests, write_journal
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive
from nautilus_torchserve.serving.server.processes import (
    CannotEnd,
    end_processes,
    find_java,
    is_in_use,
    is_server,
    start_time_s,
)
from nautilus_torchserve.serving.server.properties import read_properties, set_property
from nautilus_torchserve.serving.server.snapshot import PROPERTY
from nautilus_torchserve.serving.server.start_plan import CONFIG, ServerSettings, StartFailed, plan_start
from nautilus_torchserve.serving.server.state import (
    STATE,
    HomeInUse,
    ServerState,
    locked_home,
    read_server_state,
    write_server_state,
)
from nautilus_torchserve.serving.server.torchserve import (
    TorchServe,
    find_server,
    restart_server,
    start_server,
    stop_server,
)
from nautilus_torchserve.signing.archive_signature import Untrusted, read_digest, sign_archive
from nautilus_torchserve.user_error import UserError
from support import PROJECT, run_script, until


@pytest.fixture
def store(tick_archive: Path, tmp_path: Path) -> Path:
    """A model store of its own with ``tick.mar``."""
    (tmp_path / "store").mkdir()
    shutil.copyfile(tick_archive, tmp_path / "store" / "tick.mar")
    return tmp_path / "store"


@pytest.fixture
def settings(store: Path, tmp_path: Path) -> ServerSettings:
    return ServerSettings(None, store, tmp_path / "home", free_ports=True)


@pytest.fixture
def restored(tick_server: TorchServe) -> Iterator[Path]:
    """The home of the session's server, whose files may be damaged until the test ends."""
    files = {path: path.read_bytes() for path in (tick_server.home / STATE, tick_server.home / CONFIG)}
    yield tick_server.home
    for path, content in files.items():
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(content)


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
def test_a_running_server_is_found_whatever_its_state_file_says(
    tick_server: TorchServe, restored: Path, content: bytes | None
) -> None:
    (restored / STATE).unlink()
    (restored / STATE).mkdir() if content is None else (restored / STATE).write_bytes(content)

    found = find_server(restored)

    assert found is not None
    assert (found.pid, found.management_url) == (tick_server.pid, tick_server.management_url)
    with pytest.raises(StartFailed, match=f"expected no running server, got one with process id {tick_server.pid}"):
        start_server(ServerSettings({"tick": "tick.mar"}, tick_server.model_store, restored, free_ports=True))
    (restored / CONFIG).write_text("\\")
    with pytest.raises(DamagedState, match=r"server\.json: expected the state of a server .*stop"):
        find_server(restored)


def test_a_server_that_no_state_records_is_not_started_beside(tick_server: TorchServe, restored: Path) -> None:
    (restored / STATE).unlink()

    with pytest.raises(StartFailed, match=r"got processes that server\.json does not record: .*serve\.py stop"):
        start_server(ServerSettings({"tick": "tick.mar"}, tick_server.model_store, restored, free_ports=True))
    assert tick_server.is_running()


@pytest.mark.parametrize("content", DAMAGED_STATES, ids=range(len(DAMAGED_STATES)))
def test_where_nothing_runs_a_damaged_state_is_of_no_account(tmp_path: Path, content: bytes) -> None:
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


SNAPSHOT = (
    '{"name":"rollout","modelCount":1,"created":1,"models":{"tick":{"1.0":{"defaultVersion":true,'
    '"marName":"tick-1.0.mar","minWorkers":1,"maxWorkers":1,"batchSize":1,"maxBatchDelay":1}}}}'
)


@pytest.fixture
def rolled_out(settings: ServerSettings, store: Path) -> ServerSettings:
    """A home and a model store in which a rollout has left tick 1.0 under a lasting name."""
    shutil.copyfile(store / "tick.mar", store / "tick-1.0.mar")
    settings.home.mkdir()
    (settings.home / CONFIG).write_text(f"model_store={store}\nload_models=tick=tick.mar\n")
    set_property(settings.home / CONFIG, PROPERTY, SNAPSHOT)
    target = Target("http://127.0.0.1:1", "http://127.0.0.1:1", store)
    (store / ".rollout").mkdir()
    digests = {"1.0": read_digest(store / "tick.mar")}
    write_journal(target, "tick", Journal(("1.0",), None, {"1.0": "tick-1.0.mar"}, digests))
    return replace(settings, remembered=remembered_digests)


def test_a_start_resumes_what_rollouts_left_or_says_how(rolled_out: ServerSettings, store: Path) -> None:
    plan = plan_start(rolled_out)

    assert list(plan.digests) == [("tick", "1.0")]
    assert read_properties(rolled_out.home / CONFIG)[PROPERTY] == plan.properties[PROPERTY] == SNAPSHOT
    assert plan.properties["inference_address"] != "http://127.0.0.1:8080"  # the rest is the configuration's
    assert list(plan_start(replace(rolled_out, fresh=True)).digests) == [("tick", None)]
    assert PROPERTY not in plan_start(replace(rolled_out, fresh=True)).properties
    for given in ({"models": {"tick": "tick.mar"}}, {"model_store": store.parent}):
        with pytest.raises(StartFailed, match=r"`serve\.py restart` serves tick 1\.0 again, `start --fresh` forgets"):
            plan_start(replace(rolled_out, **given))


def test_an_archive_that_was_replaced_since_its_rollout_is_refused(rolled_out: ServerSettings, store: Path) -> None:
    known = read_digest(store / "tick.mar")
    made(store / "tick.mar", store / "tick-1.0.mar", "2.0", None)
    with pytest.raises(UnreadableArchive, match=r"tick-1\.0\.mar: expected tick 1\.0, got version 2\.0"):
        plan_start(rolled_out)
    changed = made(store / "tick.mar", store / "tick-1.0.mar", "1.0", None, "import math\n")
    with pytest.raises(UnreadableArchive, match=rf"tick 1\.0 with digest {known}, .*got digest {read_digest(changed)}"):
        plan_start(rolled_out)
    (store / "tick-1.0.mar").unlink()
    with pytest.raises(UnreadableArchive, match=r"tick-1\.0\.mar"):
        plan_start(rolled_out)


SNAPSHOTS = [
    "",
    "{",
    "[]",
    "{}",
    '{"models": 1}',
    '{"models": {"tick": {}}}',
    '{"models": {"tick": {"1.0": {}}}}',
    "[" * 9999,
    '{"models": {"tick": {"1.0": {"marName": 1}}}}',
    '{"models": {"tick": {"1.0": {"marName": ""}}}}',
]


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=range(len(SNAPSHOTS)))
def test_a_damaged_snapshot_is_one_sentence_at_start_and_restart(rolled_out: ServerSettings, snapshot: str) -> None:
    set_property(rolled_out.home / CONFIG, PROPERTY, snapshot)

    for command in (lambda: start_server(rolled_out), lambda: restart_server(rolled_out.home)):
        with pytest.raises(StartFailed, match="expected TorchServe's JSON of models and versions") as caught:
            command()
        assert len(str(caught.value)) < 700
    assert (rolled_out.home / CONFIG).is_file()


def test_a_damaged_journal_or_configuration_is_one_sentence(rolled_out: ServerSettings, store: Path) -> None:
    (store / ".rollout" / "tick.json").write_text("{")
    with pytest.raises(StartFailed, match=r"the rollout journal of tick, got JSON that ends early.*move .*tick\.json"):
        start_server(rolled_out)
    (rolled_out.home / CONFIG).write_bytes(b"\xef\xbb\xbfa=b")
    for command in (lambda: start_server(rolled_out), lambda: restart_server(rolled_out.home)):
        with pytest.raises(StartFailed, match="byte order mark"):
            command()


def test_a_start_deletes_nothing_that_is_no_servers(settings: ServerSettings, store: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "mine.txt").touch()
    with pytest.raises(StartFailed, match=r"got one with tmp but no config\.properties: a start would empty tmp"):
        start_server(replace(settings, home=tmp_path))
    (settings.home / "tmp").mkdir(parents=True)
    (settings.home / CONFIG).touch()
    shutil.copytree(store, settings.home / "tmp" / "store")
    with pytest.raises(StartFailed, match="expected a model store outside of"):
        start_server(replace(settings, model_store=settings.home / "tmp" / "store"))
    with pytest.raises(StartFailed, match=r"`serve\.py restart` starts from it"):
        start_server(replace(settings, config=settings.home / CONFIG))
    with pytest.raises(StartFailed, match="printable UTF-8"):
        start_server(replace(settings, home=tmp_path / "\udcff"))
    assert (tmp_path / "tmp" / "mine.txt").exists()
    assert (settings.home / "tmp" / "store" / "tick.mar").exists()


# --- signatures


@pytest.fixture
def signed_store(settings: ServerSettings, store: Path, tmp_path: Path) -> ServerSettings:
    private, trusted = keys(tmp_path)
    sign_archive(store / "tick.mar", private)
    return replace(settings, models={"tick": "tick.mar"}, trusted=trusted)


def unsign(store: Path) -> None:
    made(store / "tick.mar", store / "unsigned.mar", "1.0", None).replace(store / "tick.mar")


def alter(store: Path) -> None:
    """Add code, and keep the signature."""
    with ZipFile(store / "tick.mar", "a") as archive:
        archive.writestr("sitecustomize.py", "print('evil')")


BAD_STORES: dict[str, tuple[Callable[[Path], object], str]] = {
    "unsigned": (unsign, "a signed archive expected, was unsigned"),
    "altered": (alter, "altered since alice signed it"),
    "of others": (lambda store: (store / "tick.mar").chmod(0o666), r"tick\.mar: .* got mode 0666 .*before TorchServe"),
    "open folder": (lambda store: store.chmod(0o777), "store: .* got mode 0777"),
    "other model": (lambda store: (store / "tick.mar").rename(store / "price.mar"), "no file|missing"),
}


@pytest.mark.parametrize(("damage", "reason"), BAD_STORES.values(), ids=BAD_STORES)
def test_what_no_trusted_key_has_signed_is_not_started(
    signed_store: ServerSettings, store: Path, damage: Callable[[Path], object], reason: str
) -> None:
    assert plan_start(signed_store).digests[("tick", None)] == read_digest(store / "tick.mar")
    damage(store)

    with pytest.raises(UserError, match=reason):
        plan_start(signed_store)


def test_a_home_that_others_can_write_to_decides_nothing(signed_store: ServerSettings) -> None:
    signed_store.home.mkdir()
    signed_store.home.chmod(0o777)

    with pytest.raises(Untrusted, match=r"home: .* got mode 0777 .*says whose archives are trusted"):
        plan_start(signed_store)


def test_a_signed_archive_of_another_model_is_refused(signed_store: ServerSettings) -> None:
    assert plan_start(replace(signed_store, models={"tick-many": "tick.mar"}))
    for name in ("price", "ticker"):
        with pytest.raises(Untrusted, match=f"expected an archive of {name}, got one of tick"):
            plan_start(replace(signed_store, models={name: "tick.mar"}))


def test_keys_are_named_by_option_configuration_or_environment(
    signed_store: ServerSettings, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    production = PROJECT / "deploy" / "production.properties"
    assert plan_start(replace(signed_store, trusted=None)).digests[("tick", None)] is None  # not verified
    unsign(store)
    with pytest.raises(Untrusted, match=r"keys there: none|unsigned"):
        plan_start(replace(signed_store, trusted=None, config=production))
    monkeypatch.setenv("ARCHIVE_TRUSTED_KEYS", str(signed_store.trusted))
    with pytest.raises(Untrusted, match="unsigned"):
        plan_start(replace(signed_store, trusted=None))
    plan = plan_start(replace(signed_store, models={}, trusted=None, config=production))
    assert plan.properties["trusted_keys"] == str(PROJECT / "trusted_keys")
    assert plan.properties["token_expiration_min"] == "1440"  # of config.properties, which it includes
    assert "include" not in plan.properties


def test_an_archive_outside_the_model_store_is_refused(settings: ServerSettings, store: Path) -> None:
    for name in (f"{store}/tick.mar", "../store/tick.mar"):
        with pytest.raises(UnreadableArchive, match="a path that leaves it"):
            plan_start(replace(settings, models={"tick": name}))


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


# --- starts that are interrupted


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
def test_a_restart_that_fails_brings_back_what_ran(settings: ServerSettings, store: Path) -> None:
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
