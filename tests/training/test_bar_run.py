import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from model_defs.return_network import OUTPUTS, ReturnNetwork, predict
from nautilus_torchserve.features.bar import bar_schema
from nautilus_torchserve.inference.model_files import build_network, read_description, read_golden, read_schema
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.training.price.dataset import PriceDataset
from nautilus_torchserve.training.price.options import PriceTraining
from nautilus_torchserve.training.price.run import train_price
from nautilus_torchserve.training.runs.result import BadRunFolder, TrainingResult
from nautilus_torchserve.training.runs.tracking import TrackedRun
from support import PROJECT, run_script

FILES = ("model.json", "weights.safetensors", "golden.npz", "evaluation.json")
OPTIONS = ("price", "--bars", "1600", "--folds", "2", "--set", "network.hidden=4", "--set", "fit.epochs=3")


@pytest.fixture(scope="module")
def result(bars: Bars, small: PriceTraining, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train_price(bars, tmp_path_factory.mktemp("runs") / "price", small)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_a_run_holds_its_files_and_nothing_else_is_left(result: TrainingResult) -> None:
    assert {entry.name for entry in result.folder.iterdir()} == {*FILES, "checkpoints", "tracking.json"}
    assert {entry.name for entry in result.folder.parent.iterdir()} == {"price", "mlflow.db", "mlflow-artifacts"}


def test_the_description_records_model_data_and_settings(
    result: TrainingResult, bars: Bars, dataset: PriceDataset
) -> None:
    description = read_description(result.folder)
    facts = description["training"]

    assert description["model"] == "price"
    assert description["network"]["module"] == "model_defs.price_lstm"
    assert description["network"]["config"] == {"inputs": 5, "hidden": 4, "layers": 1, "dropout": 0.1, "cell": "lstm"}
    assert description["bars"] == {"interval_ns": 60 * 10**9, "max_gap_ns": 60 * 10**9, "indicators": False}
    assert read_schema(description).sha256 == bar_schema().sha256
    assert (facts["sha256"], facts["bars"], facts["simulated"]) == (bars.sha256, len(bars), True)
    assert facts["last_ts_event"] == bars.ts_event[dataset.fitted[1]] < facts["test_first_ts_event"]
    assert 0.5 <= description["metrics"]["confidence"]["p50"] <= description["metrics"]["confidence"]["p99"] <= 1


def test_golden_outputs_are_those_of_the_stored_weights(result: TrainingResult) -> None:
    golden = read_golden(result.folder)
    network = build_network(read_description(result.folder))
    network.load_state_dict(load_file(result.folder / "weights.safetensors"))
    assert isinstance(network, ReturnNetwork)

    with torch.inference_mode():
        outputs = predict(network.eval(), torch.from_numpy(golden.inputs["rows"])).numpy()

    golden.verify(dict(zip(OUTPUTS, outputs.T, strict=True)))
    assert len(np.unique(outputs[:, 0])) == len(outputs)


def test_the_evaluation_covers_every_fold(result: TrainingResult) -> None:
    evaluation = json.loads((result.folder / "evaluation.json").read_text())

    assert [fold["number"] for fold in evaluation["folds"]] == [1, 2]
    assert [fold["fold"] for fold in evaluation["history"]] == [1, 2]
    assert set(evaluation["scores"]) == {"model", "no change", "last return", "linear"}
    assert evaluation["data"]["simulated"]
    assert "no breaks" in " ".join(evaluation["data"]["findings"])


def test_the_run_is_tracked_whole(result: TrainingResult, bars: Bars) -> None:
    client = MlflowClient(f"sqlite:///{result.folder.parent / 'mlflow.db'}")
    run = client.get_run(result.mlflow_run_id)

    assert run.info.status == "FINISHED"
    assert run.data.params["network_config.hidden"] == "4"
    assert run.data.params["fit.epochs"] == "2"
    assert run.data.tags["data.sha256"] == bars.sha256
    assert run.data.tags["data.first_ts_event"] == str(bars.ts_event[0])
    assert run.data.tags["git_commit"]
    history = client.get_metric_history(result.mlflow_run_id, "fold_2/validation_loss")
    assert [entry.value for entry in history] == result.evaluation["history"][1]["validation_loss"]
    assert run.data.metrics["test_rmse_bps"] == result.evaluation["scores"]["model"]["rmse_bps"]
    assert {entry.path for entry in client.list_artifacts(result.mlflow_run_id, "run")} >= {"run/model.json"}


def test_the_same_inputs_give_the_same_bytes(
    result: TrainingResult, bars: Bars, small: PriceTraining, tmp_path: Path
) -> None:
    again = train_price(bars, tmp_path / "again", small)
    other = train_price(bars, tmp_path / "other", replace(small, fit=replace(small.fit, seed=2)))

    assert contents(again.folder) == contents(result.folder)
    assert contents(other.folder)["weights.safetensors"] != contents(result.folder)["weights.safetensors"]


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """kill -9 in the second fold, then the same command again: the same files, one tracked run."""
    command = [sys.executable, str(PROJECT / "scripts/train.py"), *OPTIONS, "--out"]
    killed = subprocess.Popen(
        [*command, str(tmp_path / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=PROJECT
    )
    reached = tmp_path / ".killed.partial" / "checkpoints" / "fold-2" / "epoch-0001"
    deadline = time.monotonic() + 120
    while not reached.is_dir():
        assert killed.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed").exists()

    resumed, whole = (
        run_script(PROJECT / "scripts/train.py", *OPTIONS, "--out", tmp_path / name) for name in ("killed", "whole")
    )

    assert (resumed.returncode, whole.returncode) == (0, 0), resumed.stderr + whole.stderr
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("price")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["killed", "whole"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        assert [entry.step for entry in client.get_metric_history(run.info.run_id, "fold_2/train_loss")] == [1, 2, 3]
        assert {entry.path for entry in client.list_artifacts(run.info.run_id)} == {"archive", "report", "run"}


def test_a_fold_killed_before_its_last_epoch_was_tracked_is_tracked_whole(
    bars: Bars, small: PriceTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoint is written by then, so that the fit itself has nothing left to say."""
    track_epoch = TrackedRun.epoch

    def interrupted(run: TrackedRun, fold: int, epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == small.fit.epochs:
            raise KeyboardInterrupt
        track_epoch(run, fold, epoch, metrics)

    with monkeypatch.context() as patched:
        patched.setattr(TrackedRun, "epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_price(bars, tmp_path / "run", small)
    result = train_price(bars, tmp_path / "run", small)

    history = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").get_metric_history(
        result.mlflow_run_id, "fold_1/train_loss"
    )
    assert [entry.step for entry in history] == [1, 2]


def test_a_folder_that_is_no_run_is_left_alone(bars: Bars, small: PriceTraining, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")

    with pytest.raises(BadRunFolder, match=r"got one with thesis\.tex"):
        train_price(bars, tmp_path, small)

    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_too_few_bars_leave_nothing_behind(bars: Bars, small: PriceTraining, tmp_path: Path) -> None:
    with pytest.raises(BadData):
        train_price(bars.between(0, 100), tmp_path / "run", small)

    assert not list(tmp_path.iterdir())
