"""A watched folder: complete good archives are rolled out, others are refused or left, and the watch goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from deployment import QUICK, Deployment
from forged_zip import Entry, entries_of, forge
from signed_archives import keys, packed, signed
from tick_versions import RAISES
from typer.testing import CliRunner

from nautilus_torchserve.release.rollout.journal import read_journal
from nautilus_torchserve.release.rollout.rollout import register, rollback
from nautilus_torchserve.release.rollout.target import NoTarget, Target
from nautilus_torchserve.release.watch.watch import WatchedArchive, WatchRefused, WatchSettings, watch
from nautilus_torchserve.signing.archive_signature import sign_archive
from nautilus_torchserve.wire.digest import MANIFEST, SIGNATURE
from support import PROJECT, script_app

SCRIPT = PROJECT / "scripts" / "watch.py"
FreshVersion = Callable[[], str]


def quiet(_: str) -> None:
    pass


def wait_for(condition: Callable[[], object], within_s: float = 40.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_watched(watched: WatchSettings) -> bool:
    try:
        watch(watched, threading.Event(), quiet, once=True)
        return False
    except WatchRefused as error:
        return "got one that is watched" in str(error)


def report_of(archive: Path) -> dict:
    return json.loads(archive.with_name(f"{archive.name}.json").read_text())


# --- without a server


@pytest.fixture
def lonely(tmp_path: Path) -> WatchSettings:
    """A folder for a server that does not respond."""
    _, trusted = keys(tmp_path)
    (tmp_path / "in").mkdir()
    target = Target("http://127.0.0.1:9", "http://127.0.0.1:9", tmp_path)
    return WatchSettings(tmp_path / "in", lambda: target, trusted, QUICK, interval_s=0.05)


def test_an_archive_waits_for_the_server(lonely: WatchSettings) -> None:
    packed(lonely.folder / "tick.mar")

    first = watch(lonely, threading.Event(), quiet, once=True)
    packed(lonely.folder / "tick.mar", {"newer.py": b""})
    second = watch(lonely, threading.Event(), quiet, once=True)

    (taken,) = first
    assert (taken.outcome, taken.model, taken.version) == ("left", "tick", "1.0")
    assert str(taken.reason).startswith("waits for the server: GET http://127.0.0.1:9/models")
    assert [archive.path.relative_to(lonely.folder).as_posix() for archive in second] == [
        "under-way/tick.mar",
        "under-way/tick.2.mar",
    ]


def test_a_server_that_is_gone_for_now_is_waited_for(lonely: WatchSettings) -> None:
    def find() -> Target:
        raise NoTarget(".server: expected a running server, got none")

    packed(lonely.folder / "tick.mar")

    (taken,) = watch(
        WatchSettings(lonely.folder, find, lonely.trusted, interval_s=0.05), threading.Event(), quiet, once=True
    )

    assert (taken.outcome, taken.reason) == (
        "left",
        "waits for the server: .server: expected a running server, got none",
    )


def test_a_file_that_is_no_archive_is_refused_with_a_report(lonely: WatchSettings) -> None:
    for _ in range(2):
        path = lonely.folder / "tick.mar"
        path.write_bytes(b"rubbish")
        os.utime(path, (1, 1))
        (taken,) = watch(lonely, threading.Event(), quiet, once=True)
        assert taken.outcome == "refused"

    assert sorted(path.name for path in (lonely.folder / "refused").iterdir()) == [
        "tick.2.mar",
        "tick.2.mar.json",
        "tick.mar",
        "tick.mar.json",
    ]
    report = report_of(taken.path)
    assert (report["archive"], report["ok"]) == ("tick.2.mar", False)
    assert "expected a model archive" in report["reason"]


def test_an_incomplete_archive_stays_in_the_folder(lonely: WatchSettings) -> None:
    path = lonely.folder / "tick.mar"
    path.write_bytes(b"half")

    (taken,) = watch(lonely, threading.Event(), quiet, once=True)

    assert (taken.path, taken.outcome) == (path, "left")
    assert str(taken.reason).startswith("not complete yet: ")


def test_a_folder_is_watched_once_at_a_time(lonely: WatchSettings) -> None:
    stopped, ended = threading.Event(), []
    thread = threading.Thread(target=lambda: ended.append(watch(lonely, stopped, quiet)))
    thread.start()
    try:
        wait_for((lonely.folder / ".watch.lock").exists)
        wait_for(partial(is_watched, lonely))  # the file is there a moment before the lock is taken
    finally:
        stopped.set()
        thread.join(timeout=10)

    assert ended == [[]]
    assert watch(lonely, threading.Event(), quiet, once=True) == []


def test_the_model_store_itself_is_not_watched(lonely: WatchSettings) -> None:
    archive = packed(lonely.folder / "tick.mar")
    target = replace(lonely.find_target(), model_store=lonely.folder / ".")

    with pytest.raises(WatchRefused, match="expected another folder than the server's model store"):
        watch(replace(lonely, find_target=lambda: target), threading.Event(), quiet, once=True)

    assert archive.exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--home", "TMP/none"), "expected a running server, got none"),
        (("--management-url", "http://127.0.0.1:9"), "expected all of --management-url, --inference-url"),
    ],
)
def test_wrong_options_are_reported_at_once(tmp_path: Path, options: tuple[str, ...], reason: str) -> None:
    arguments = [option.replace("TMP", str(tmp_path)) for option in options]

    result = CliRunner().invoke(script_app(SCRIPT), [str(tmp_path / "in"), *arguments])

    assert result.exit_code == 1
    assert reason in result.stderr
    assert not (tmp_path / "in").exists()


# --- with a server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@contextmanager
def watching(
    deployment: Deployment, folder: Path, progress: Callable[[str], None] = quiet, unload_after_s: float | None = None
) -> Iterator[list[WatchedArchive]]:
    """Watch the folder in a thread until the block ends; then the list has the archives."""
    stopped, ended = threading.Event(), []
    watched = WatchSettings(
        folder,
        lambda: deployment.target,
        deployment.trusted,
        QUICK,
        interval_s=0.1,
        unload_after_s=unload_after_s,
        splits="sqlite:////nowhere/traffic.db",
    )
    thread = threading.Thread(target=lambda: ended.extend(watch(watched, stopped, progress)))
    thread.start()
    try:
        yield ended
    finally:
        stopped.set()
        thread.join(timeout=60)
    assert not thread.is_alive()


def test_good_archives_are_rolled_out_and_bad_ones_do_not_stop_it(
    deployment: Deployment, fresh_version: FreshVersion, folder: Path, tmp_path: Path
) -> None:
    """All have the same name, and each comes when the one before has been moved."""
    (tmp_path / "elsewhere").mkdir()
    strangers_key, _ = keys(tmp_path / "elsewhere", "mallory")
    version = fresh_version()
    archives = [
        deployment.make(fresh_version(), key=strangers_key),
        malformed(deployment, tmp_path),
        deployment.make(version),
    ]
    before = deployment.files()

    with watching(deployment, folder) as ended:
        for number, archive in enumerate(archives, start=1):
            shutil.move(archive, folder / "tick.mar")
            wait_for(lambda goal=number: len(list(folder.glob("*/*.json"))) == goal)

    stranger, wrong, good = ended
    assert (stranger.outcome, wrong.outcome, good.outcome) == ("refused", "refused", "done")
    assert "expected a signature by a key in" in str(stranger.reason)
    assert "expected YAML in model-config.yaml" in str(wrong.reason)
    assert "traceback" not in report_of(wrong.path)
    assert [path.name for path in (stranger.path, wrong.path, good.path)] == ["tick.mar", "tick.2.mar", "tick.mar"]
    assert report_of(good.path)["outcome"] == "serving"
    assert deployment.server.management().default_version("tick") == good.version == version
    assert deployment.server.management().model_names() == ["tick"]
    assert not list((folder / "under-way").iterdir())
    assert deployment.files() - before <= {f"tick-{version}.mar", "tick-1.0.mar"}


def malformed(deployment: Deployment, folder: Path) -> Path:
    """Write a signed first version of another model whose settings cannot be read."""
    entries = [entry for entry in entries_of(deployment.archive) if entry.name != SIGNATURE]
    changed = {
        MANIFEST: lambda data: data.replace(b'"modelName": "tick"', b'"modelName": "other"'),
        "model-config.yaml": lambda _: b"{",
    }
    assert changed.keys() <= {entry.name for entry in entries}
    entries = [Entry(entry.name, changed.get(entry.name, bytes)(entry.data)) for entry in entries]
    sign_archive(archive := forge(folder / "other.mar", entries), deployment.key)
    return archive


@pytest.mark.slow
def test_a_version_that_does_not_load_is_refused(
    deployment: Deployment, fresh_version: FreshVersion, folder: Path
) -> None:
    before = deployment.server.management().default_version("tick")

    with watching(deployment, folder) as ended:
        shutil.move(deployment.make(fresh_version(), code=RAISES), folder / "tick.mar")
        wait_for((folder / "refused" / "tick.mar").exists)

    assert [taken.outcome for taken in ended] == ["refused"]
    assert report_of(folder / "refused" / "tick.mar")["outcome"] == "undone"
    assert deployment.server.management().default_version("tick") == before


@pytest.mark.slow
def test_the_watch_goes_on_after_an_archive_was_deleted(
    deployment: Deployment, fresh_version: FreshVersion, folder: Path
) -> None:
    def take_away(text: str) -> None:
        if text.endswith(": golden"):
            (folder / "under-way" / "tick.mar").unlink()

    version = fresh_version()
    with watching(deployment, folder, take_away) as ended:
        shutil.move(deployment.make(version), folder / "tick.mar")
        wait_for(lambda: deployment.server.management().default_version("tick") == version)
        wait_for((folder / "done" / "tick.mar.json").exists)

    assert [taken.outcome for taken in ended] == ["done"]
    assert [path.name for path in (folder / "done").iterdir()] == ["tick.mar.json"]


@pytest.mark.slow
def test_an_archive_that_serves_already_is_done(
    deployment: Deployment, fresh_version: FreshVersion, folder: Path
) -> None:
    """As after a kill between the rollout's end and the archive's move."""
    archive = deployment.make(fresh_version())
    shutil.copy(archive, folder / "tick.mar")
    with watching(deployment, folder):
        wait_for((folder / "done" / "tick.mar").exists)
        shutil.copy(archive, folder / "tick.mar")
        wait_for((folder / "done" / "tick.2.mar").exists)

    assert report_of(folder / "done" / "tick.2.mar")["outcome"] == "nothing to do"


def started(deployment: Deployment, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        SCRIPT,
        folder,
        "--home",
        deployment.server.home,
        "--trusted",
        deployment.trusted,
        "--json",
    ]
    command += ["--interval", "0.1", "--watch", "0.3", "--drain", "0.1", "--latency-add-ms", "1000", *options]
    return subprocess.Popen(
        [str(argument) for argument in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("step", ["register", "load"])
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_watcher_that_ends_during_a_rollout_goes_on_when_it_is_started_again(
    deployment: Deployment, fresh_version: FreshVersion, folder: Path, kill: signal.Signals, step: str
) -> None:
    before, version = deployment.server.management().default_version("tick"), fresh_version()
    shutil.move(deployment.make(version), folder / "tick.mar")
    first = started(deployment, folder)
    wait_for(lambda: getattr(read_journal(deployment.target, "tick").under_way, "step", "") == step)

    first.send_signal(kill)
    out, _ = first.communicate(timeout=60)

    assert deployment.server.management().default_version("tick") == before
    assert [path.name for path in (folder / "under-way").iterdir()] == ["tick.mar"]
    if kill == signal.SIGTERM:
        assert first.returncode == 0
        assert read_journal(deployment.target, "tick").under_way is None
        assert [archive["outcome"] for archive in json.loads(out)["archives"]] == ["left"]
    second = started(deployment, folder, "--once")
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert [(archive["version"], archive["outcome"]) for archive in json.loads(out)["archives"]] == [(version, "done")]
    assert deployment.server.management().default_version("tick") == version


@pytest.mark.slow
def test_once_ends_after_the_archives_in_the_folder(
    deployment: Deployment, fresh_version: FreshVersion, folder: Path, tmp_path: Path
) -> None:
    good = fresh_version()
    shutil.move(deployment.make(good), folder / "good.mar")
    signed(folder / "bad.mar", deployment.key).write_bytes((folder / "good.mar").read_bytes()[:-1] + b"x")
    os.utime(folder / "bad.mar", (1, 1))

    ended = started(deployment, folder, "--once")
    out, err = ended.communicate(timeout=120)

    assert ended.returncode == 1, err
    assert {archive["outcome"]: Path(archive["path"]).name for archive in json.loads(out)["archives"]} == {
        "done": "good.mar",
        "refused": "bad.mar",
    }
    assert "bad.mar: refused: " in err


@pytest.mark.slow
def test_version_that_was_rolled_back_from_is_unloaded_after_a_while(
    deployment: Deployment, fresh_version: FreshVersion, folder: Path
) -> None:
    version = fresh_version()
    lines: list[str] = []
    assert register(deployment.target, "tick", deployment.make(version), deployment.trusted, QUICK).ok
    back_to = rollback(deployment.target, "tick").default

    with watching(deployment, folder, lines.append, unload_after_s=0.0):
        wait_for(lambda: f"tick {version}: removed" in "\n".join(lines))

    assert version not in deployment.server.management().versions("tick")
    assert deployment.server.management().default_version("tick") == back_to
