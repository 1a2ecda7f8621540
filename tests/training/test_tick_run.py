import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from model_defs.tick_classifier import TickClassifier, TickClassifierConfig
from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.inference.model_files import read_description, read_golden, read_schema
from nautilus_torchserve.market.trades.labels import LabelConfig
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.training.fit.loop import History
from nautilus_torchserve.training.runs.result import BadRunFolder
from nautilus_torchserve.training.tick.dataset import DatasetSplit
from nautilus_torchserve.training.tick.fit import TickFitConfig, probabilities
from nautilus_torchserve.training.tick.run import train_tick

FILES = ("model.json", "weights.safetensors", "golden.npz", "evaluation.json")


class Interrupted(Exception):
    """Stands for a lost machine."""


@pytest.fixture(scope="module")
def run(trades: Trades, quick: TickFitConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tick"
    train_tick(trades, out, LabelConfig(), quick)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_a_run_holds_its_files_and_nothing_else_is_left(run: Path) -> None:
    assert {entry.name for entry in run.iterdir()} == {*FILES, "checkpoints"}
    assert [entry.name for entry in run.parent.iterdir()] == ["tick"]


def test_the_description_records_model_data_and_settings(run: Path, trades: Trades, split: DatasetSplit) -> None:
    description = read_description(run)
    facts = description["training"]

    assert description["model"] == "tick"
    assert description["classes"] == ["buy", "sell", "hold"]
    assert description["label"] == {"horizon": 20, "cost_bps": 1.0}
    assert read_schema(description).sha256 == tick_schema().sha256
    assert facts["sha256"] == trades.sha256
    assert facts["simulated"] is True
    assert facts["instrument_id"] == "SIMUSD.SIM"
    assert facts["trades"] == len(trades)
    assert (facts["train_rows"], facts["test_rows"]) == (len(split.train), len(split.test))
    assert facts["first_ts_event"] == trades.ts_event[0]
    assert facts["last_ts_event"] < facts["test_first_ts_event"] == trades.ts_event[split.test.index[0]]
    assert "edge" in description["metrics"]


def test_golden_rows_come_out_of_the_stored_network(run: Path, split: DatasetSplit) -> None:
    description, golden = read_description(run), read_golden(run)
    network = TickClassifier(TickClassifierConfig(**description["network"]["config"]))
    network.load_state_dict(load_file(run / "weights.safetensors"))

    outputs = dict(zip(description["classes"], probabilities(network, golden.inputs["rows"]).T, strict=True))

    assert golden.inputs["rows"].shape == (64, 4)
    assert golden.inputs["rows"].dtype == np.float32
    assert golden.tolerance == 1e-5
    assert {row.tobytes() for row in golden.inputs["rows"]} <= {row.tobytes() for row in split.test.rows}
    golden.verify(outputs)
    assert network.center.tolist() == description["scaler"]["center"]
    assert network.scale.tolist() == description["scaler"]["scale"]


def test_the_same_inputs_give_the_same_bytes(run: Path, trades: Trades, quick: TickFitConfig, tmp_path: Path) -> None:
    train_tick(trades, tmp_path / "again", LabelConfig(), quick)

    assert contents(tmp_path / "again") == contents(run)
    with zipfile.ZipFile(run / "golden.npz") as golden:
        assert {entry.date_time[0] for entry in golden.infolist()} == {1980}  # no wall-clock time inside


def test_an_earlier_run_is_replaced(trades: Trades, quick: TickFitConfig, tmp_path: Path) -> None:
    for horizon in (20, 10):
        train_tick(trades, tmp_path / "tick", LabelConfig(horizon=horizon), quick)

    assert read_description(tmp_path / "tick")["label"]["horizon"] == 10
    assert [entry.name for entry in tmp_path.iterdir()] == ["tick"]


def test_interruption_keeps_the_earlier_run_and_is_resumed(
    run: Path, trades: Trades, quick: TickFitConfig, tmp_path: Path
) -> None:
    def interrupt(history: History) -> None:
        if history.epochs == 2:
            raise Interrupted

    out = tmp_path / "tick"
    train_tick(trades, out, LabelConfig(horizon=10), quick)
    before = contents(out)
    with pytest.raises(Interrupted):
        train_tick(trades, out, LabelConfig(), quick, on_epoch=interrupt)
    assert contents(out) == before

    epochs: list[int] = []
    train_tick(trades, out, LabelConfig(), quick, on_epoch=lambda history: epochs.append(history.epochs))

    assert epochs == [3, 4]
    assert contents(out) == contents(run)


def test_data_that_cannot_be_trained_on_leaves_nothing(trades: Trades, quick: TickFitConfig, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="expected at least 64 rows"):
        train_tick(trades.between(0, 200), tmp_path / "tick", LabelConfig(), quick)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things_is_not_replaced(trades: Trades, quick: TickFitConfig, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")

    with pytest.raises(BadRunFolder, match=r"or an earlier run, got one with thesis\.txt"):
        train_tick(trades, tmp_path, LabelConfig(), quick)
    with pytest.raises(BadRunFolder, match="expected a folder, got a file"):
        train_tick(trades, tmp_path / "thesis.txt", LabelConfig(), quick)
    assert (tmp_path / "thesis.txt").read_text() == "three years of work"


def test_the_evaluation_records_the_course_of_the_fit(run: Path, quick: TickFitConfig) -> None:
    history = json.loads((run / "evaluation.json").read_text())["history"]

    assert len(history["train_loss"]) == len(history["validation_loss"]) == quick.epochs


def test_real_trades_are_not_called_simulated(trades: Trades, quick: TickFitConfig, tmp_path: Path) -> None:
    result = train_tick(replace(trades, simulated=False), tmp_path / "tick", LabelConfig(), quick)

    assert result.description["training"]["simulated"] is False
