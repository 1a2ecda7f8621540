from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model_defs.tick_classifier import TickClassifier, TickClassifierConfig
from nautilus_torchserve.training.fit.loop import Checkpoints, History
from nautilus_torchserve.training.tick.dataset import DatasetSplit
from nautilus_torchserve.training.tick.fit import TickFitConfig, fit, probabilities

NETWORK = TickClassifierConfig()


class Interrupted(Exception):
    """Stands for a lost machine."""


def state(network: TickClassifier) -> dict[str, bytes]:
    return {name: values.numpy().tobytes() for name, values in network.state_dict().items()}


def stop_after(epochs: int) -> Callable[[History], None]:
    def on_epoch(history: History) -> None:
        if history.epochs == epochs:
            raise Interrupted

    return on_epoch


def test_the_same_seed_gives_the_same_bits(split: DatasetSplit, quick: TickFitConfig, tmp_path: Path) -> None:
    (one, _), (two, _) = (fit(split, NETWORK, quick, Checkpoints(tmp_path / name, "x")) for name in "ab")
    other, _ = fit(split, NETWORK, replace(quick, seed=2), Checkpoints(tmp_path / "c", "x"))

    assert state(one) == state(two)
    assert state(one) != state(other)


def test_interrupted_fit_resumes_to_the_same_bits(split: DatasetSplit, quick: TickFitConfig, tmp_path: Path) -> None:
    whole, whole_history = fit(split, NETWORK, quick, Checkpoints(tmp_path / "whole", "x"))
    epochs: list[int] = []

    with pytest.raises(Interrupted):
        fit(split, NETWORK, quick, Checkpoints(tmp_path / "parts", "x"), stop_after(2))
    resumed, history = fit(
        split, NETWORK, quick, Checkpoints(tmp_path / "parts", "x"), lambda history: epochs.append(history.epochs)
    )

    assert epochs == [3, 4]
    assert history == whole_history
    assert state(resumed) == state(whole)


def test_checkpoints_of_other_inputs_are_not_resumed(split: DatasetSplit, quick: TickFitConfig, tmp_path: Path) -> None:
    fit(split, NETWORK, quick, Checkpoints(tmp_path, "x"))
    epochs: list[int] = []

    fit(split, NETWORK, quick, Checkpoints(tmp_path, "y"), lambda history: epochs.append(history.epochs))

    assert epochs == [1, 2, 3, 4]


def test_a_checkpoint_half_written_does_not_count(split: DatasetSplit, quick: TickFitConfig, tmp_path: Path) -> None:
    _, history = fit(split, NETWORK, quick, Checkpoints(tmp_path, "x"))
    (tmp_path / "epoch-0009.writing").mkdir()

    assert fit(split, NETWORK, quick, Checkpoints(tmp_path, "x"))[1] == history


def test_only_the_newest_and_the_best_checkpoint_are_kept(
    split: DatasetSplit, quick: TickFitConfig, tmp_path: Path
) -> None:
    _, history = fit(split, NETWORK, quick, Checkpoints(tmp_path, "x"))

    kept = {int(folder.name.removeprefix("epoch-")) for folder in tmp_path.iterdir()}
    assert kept == {history.epochs, history.best_epoch}


def test_a_fit_stops_when_validation_no_longer_improves(split: DatasetSplit, tmp_path: Path) -> None:
    config = TickFitConfig(epochs=500, patience=2, learning_rate=0.05)

    _, history = fit(split, NETWORK, config, Checkpoints(tmp_path, "x"))

    assert history.epochs == history.best_epoch + 2 < 500
    assert min(history.validation_loss) == history.validation_loss[history.best_epoch - 1]


def test_the_scaler_is_that_of_the_training_part(split: DatasetSplit, quick: TickFitConfig, tmp_path: Path) -> None:
    network, _ = fit(split, NETWORK, quick, Checkpoints(tmp_path, "x"))

    rows = split.train.rows.astype(np.float64)
    np.testing.assert_allclose(network.center.numpy(), rows.mean(axis=0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(network.scale.numpy(), rows.std(axis=0), rtol=1e-6)


def test_a_constant_column_does_no_harm(split: DatasetSplit, quick: TickFitConfig, tmp_path: Path) -> None:
    rows = split.train.rows.copy()
    rows[:, 1] = 0.25
    constant = replace(split, train=replace(split.train, rows=rows))

    network, _ = fit(constant, NETWORK, quick, Checkpoints(tmp_path, "x"))

    assert network.scale[1] == 1.0
    assert np.isfinite(probabilities(network, split.test.rows)).all()


def test_probabilities_sum_to_one(split: DatasetSplit) -> None:
    outputs = probabilities(TickClassifier(NETWORK), split.test.rows)

    assert outputs.shape == (len(split.test), 3)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs.sum(axis=1), 1.0, atol=1e-6)


def test_callers_thread_count_is_restored(split: DatasetSplit, quick: TickFitConfig, tmp_path: Path) -> None:
    before = torch.get_num_threads()

    fit(split, NETWORK, quick, Checkpoints(tmp_path, "x"))

    assert torch.get_num_threads() == before


def test_batches_without_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="expected batch_rows of at least 1, got 0"):
        TickFitConfig(batch_rows=0)
