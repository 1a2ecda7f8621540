import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.mlflow_store import ARTIFACTS, DATABASE, URI_VARIABLE, TrackingFailed, tracking_store
from nautilus_torchserve.training.runs.tracking import LONGEST_PARAMETER, flatten, track
from support import PROJECT

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TRAIN = """
import sys
from pathlib import Path
from nautilus_torchserve.training.runs.tracking import track

with track(Path(sys.argv[1]), "price", sys.argv[2], {"seed": 1}, {}) as run:
    for epoch in (1, 2, 3):
        run.epoch(1, epoch, {"validation_loss": float(epoch)})
    if sys.argv[3] == "wait":
        print(run.run_id, flush=True)
        sys.stdin.read()
"""
NO_NETWORK = """
import os, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.sendmsg"):
        os.write(2, f"{event} {arguments[1:]}".encode())
        os._exit(3)

sys.addaudithook(refuse)
"""


@pytest.fixture(autouse=True)
def _no_server_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URI_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs; its store is made by the first test that tracks one."""
    return tmp_path_factory.mktemp("some runs")


@pytest.fixture
def client(runs: Path) -> "MlflowClient":
    """MLflow's own client of the store in there."""
    return mlflow_client(runs)


def mlflow_client(runs: Path) -> "MlflowClient":
    from mlflow import MlflowClient  # not before nautilus_torchserve.mlflow_store has turned its telemetry off

    return MlflowClient(tracking_store(runs))


def refused(match: str, *arguments: Any) -> TrackingFailed:
    """The error of a run that must not begin."""
    with pytest.raises(TrackingFailed, match=match) as failure, track(*arguments):
        pytest.fail("nothing inside may run")
    return failure.value


def bare_environment(home: Path) -> dict[str, str]:
    """Without what tells MLflow that it is being tested, where it sends nothing anyway."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(PROJECT)}


def start(code: str, *arguments: str | Path, home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=bare_environment(home), stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def runs_of(client: "MlflowClient", experiment: str) -> list["Run"]:
    stored = client.get_experiment_by_name(experiment)
    assert stored is not None
    return list(client.search_runs([stored.experiment_id]))


def steps(client: "MlflowClient", run_id: str, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, key)]


def test_mlflow_finds_all_that_a_run_logged(runs: Path, client: "MlflowClient", tmp_path: Path) -> None:
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves/fold_1.json").write_text("[]")
    (tmp_path / "model.json").write_text("{}")

    with track(runs, "all", "first", {"fit": {"learning_rate": 0.1}, "data": "x.csv"}, {"git": "abc"}) as run:
        run.epoch(1, 1, {"validation_loss": 2.0})
        run.epoch(1, 2, {"validation_loss": 1.5})
        run.epoch(2, 1, {"validation_loss": 3.0})
        run.metrics({"sharpe": -1.0})
        run.tags({"edge": "none"})
        run.artifact(tmp_path / "model.json")
        run.artifact(tmp_path / "curves", "curves")

    (stored,) = runs_of(client, "all")
    assert (stored.info.run_id, stored.info.run_name) == (run.run_id, "first")
    assert stored.data.params == {"fit.learning_rate": "0.1", "data": "x.csv"}
    assert stored.data.tags.items() >= {"git": "abc", "edge": "none"}.items()
    assert stored.data.metrics["sharpe"] == -1.0
    assert steps(client, run.run_id, "fold_1/validation_loss") == [(1, 2.0), (2, 1.5)]
    assert steps(client, run.run_id, "fold_2/validation_loss") == [(1, 3.0)]
    folder = runs / ARTIFACTS / "all" / run.run_id / "artifacts"
    assert sorted(folder.rglob("*.json")) == [folder / "curves/fold_1.json", folder / "model.json"]


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")]
)
def test_the_status_records_how_a_run_ended(
    runs: Path, client: "MlflowClient", error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), track(runs, "ends", "run", {}, {}) as run:
        raise error

    assert client.get_run(run.run_id).info.status == status


def test_a_killed_and_resumed_training_is_one_run(runs: Path, client: "MlflowClient", tmp_path: Path) -> None:
    with start(TRAIN, runs, "killed", "wait", home=tmp_path) as process:
        run_id = process.stdout.readline().strip()  # type: ignore[union-attr]
        process.kill()
    before = client.get_run(run_id).info.status

    with track(runs, "price", "killed", {"seed": 1}, {}, run_id) as run:
        during = client.get_run(run_id).info.status
        run.epoch(1, 3, {"validation_loss": 99.0})
        run.epoch(1, 4, {"validation_loss": 4.0})

    assert run.run_id == run_id
    assert [before, during, client.get_run(run_id).info.status] == ["RUNNING", "RUNNING", "FINISHED"]
    assert steps(client, run_id, "fold_1/validation_loss") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert len(runs_of(client, "price")) == 1


def test_parameters_missing_from_an_interrupted_run_are_added(runs: Path, client: "MlflowClient") -> None:
    with track(runs, "added", "run", {"a": 1}, {}) as first:
        pass

    with track(runs, "added", "run", {"a": 1, "b": 2}, {}, first.run_id):
        pass

    assert client.get_run(first.run_id).data.params == {"a": "1", "b": "2"}


def test_run_is_not_resumed_with_other_parameters(runs: Path, client: "MlflowClient") -> None:
    with track(runs, "other", "run", {"fit": {"epochs": 3}}, {}) as first:
        pass

    refused(r"expected fit\.epochs = 3, got 4", runs, "other", "run", {"fit": {"epochs": 4}}, {}, first.run_id)

    assert client.get_run(first.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("state", ["unknown", "deleted"])
def test_a_new_run_begins_where_the_old_one_is_gone(
    runs: Path, client: "MlflowClient", caplog: pytest.LogCaptureFixture, state: str
) -> None:
    old = "0" * 32
    if state == "deleted":
        with track(runs, "gone", "old", {}, {}) as run:
            old = run.run_id
        client.delete_run(old)

    with caplog.at_level(logging.WARNING), track(runs, "gone", "new", {}, {}, old) as run:
        pass

    assert run.run_id != old
    assert f"cannot continue run {old}, which is {state} there" in caplog.text
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_long_values_keep_their_beginning_and_stay_different(runs: Path, client: "MlflowClient") -> None:
    longest, one, two = ("x" * LONGEST_PARAMETER, *("x" * LONGEST_PARAMETER + end for end in "ab"))

    with track(runs, "long", "run", {"longest": longest, "one": one, "two": two}, {"tag": one * 2}) as run:
        pass

    kept = client.get_run(run.run_id).data
    assert kept.params["longest"] == longest
    assert kept.params["one"] != kept.params["two"]
    assert kept.params["one"].startswith("xxx")
    assert f"({LONGEST_PARAMETER + 1} characters, sha256 " in kept.params["one"]
    assert "sha256" in kept.tags["tag"]
    with track(runs, "long", "run", {"longest": longest, "one": one, "two": two}, {}, run.run_id):
        pass


NAMES = st.text("abc_", min_size=1)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.lists(st.integers() | NAMES)
NESTED = st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, min_size=1), max_leaves=10)


@settings(max_examples=40)
@given(st.dictionaries(NAMES, NESTED))
def test_flat_parameters_hold_all_of_the_nested_ones(params: dict[str, Any]) -> None:
    nested: dict[str, Any] = {}
    for name, value in flatten(params).items():
        *sections, last = name.split(".")
        at = nested
        for section in sections:
            at = at.setdefault(section, {})
        at[last] = value

    assert nested == params


def test_the_variable_names_another_store(
    runs: Path, client: "MlflowClient", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    with track(runs, "seen", "run", {}, {}):
        pass
    monkeypatch.setenv(URI_VARIABLE, tracking_store(runs))

    with track(tmp_path / "untouched", "elsewhere", "run", {}, {}) as run:
        run.artifact(tmp_path / "file")

    assert not (tmp_path / "untouched").exists()
    assert (runs / ARTIFACTS / "elsewhere" / run.run_id / "artifacts/file").is_file()


def not_a_database(folder: Path) -> Path:
    (folder / DATABASE).write_text("something else " * 100)
    return folder


def not_a_folder(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (not_a_database, "file is not a database"),
        (not_a_folder, "File exists|Not a directory"),
        (lambda folder: folder / "100%", "expected a path without % and [?]"),
    ],
)
def test_unusable_store_stops_a_run_before_it_begins(tmp_path: Path, spoil: Any, why: str) -> None:
    runs = spoil(tmp_path)

    failure = refused(why, runs, "price", "run", {}, {})

    assert str(runs) in str(failure)


def test_unreachable_server_stops_a_run_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv(URI_VARIABLE, f"http://me:secret@127.0.0.1:{taken.getsockname()[1]}")

        failure = refused("Connection refused", tmp_path / "runs", "price", "run", {}, {})

    assert "secret" not in str(failure)
    assert not (tmp_path / "runs").exists()


def test_errors_of_the_training_are_not_reported_as_errors_of_the_store(runs: Path) -> None:
    with pytest.raises(OSError, match="disk full"), track(runs, "inside", "run", {}, {}):
        raise OSError("disk full")


@pytest.mark.slow
def test_two_first_runs_at_once_share_a_new_store_without_output_or_network(tmp_path: Path) -> None:
    runs, home = tmp_path / "runs", tmp_path / "home"

    both = [start(NO_NETWORK + TRAIN, runs, name, "go", home=home) for name in ("one", "two")]
    outputs = [process.communicate() for process in both]

    assert outputs == [("", ""), ("", "")]
    assert [process.returncode for process in both] == [0, 0]
    tracked = runs_of(mlflow_client(runs), "price")
    assert {(run.info.run_name, run.info.status) for run in tracked} == {("one", "FINISHED"), ("two", "FINISHED")}
    assert [path.name for path in runs.iterdir()] == [DATABASE]
    assert not home.exists()


def test_mlflow_is_not_imported_before_a_run_begins(tmp_path: Path) -> None:
    process = start(
        "import nautilus_torchserve.training.runs.tracking, sys; print('mlflow' in sys.modules)", home=tmp_path
    )

    assert process.communicate() == ("False\n", "")
