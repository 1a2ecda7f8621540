import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_defs.return_network import ReturnNetwork, relative
from nautilus_torchserve.inference.model_files import build_network
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.training.fit.loop import Checkpoints, History
from nautilus_torchserve.training.price.dataset import PriceDataset, bar_dataset
from nautilus_torchserve.training.price.fit import PriceFitConfig, _calibrate, _learning_rate, fit_fold, forecast
from nautilus_torchserve.training.price.options import PriceTraining
from nautilus_torchserve.user_error import InvalidArgument

CPU = torch.device("cpu")


class Interrupted(Exception):
    """Stands for a lost machine."""


def fit(
    dataset: PriceDataset,
    training: PriceTraining,
    folder: Path,
    on_epoch: Callable[[History], None] = lambda history: None,
) -> tuple[ReturnNetwork, History]:
    build = partial(build_network, {"network": training.describe_network()})
    return fit_fold(dataset, dataset.folds[0], build, training.fit, CPU, Checkpoints(folder, "x"), on_epoch)


def state(network: ReturnNetwork) -> dict[str, bytes]:
    return {name: values.numpy().tobytes() for name, values in network.state_dict().items()}


@pytest.mark.parametrize("network", ["price_lstm", "cnn", "patchtst"])
def test_interrupted_fit_resumes_to_the_same_bits(
    dataset: PriceDataset, small: PriceTraining, network: str, tmp_path: Path
) -> None:
    """Dropout included: it depends on seed and epoch alone."""
    shapes = {
        "price_lstm": {"hidden": 4, "dropout": 0.5},
        "cnn": {"hidden": 4, "channels": 4, "dropout": 0.5},
        "patchtst": {"hidden": 8, "heads": 2, "layers": 1, "feed_forward": 8, "dropout": 0.5},
    }
    training = replace(small, network=network, network_config=shapes[network], fit=PriceFitConfig(epochs=3))

    def stop(history: History) -> None:
        if history.epochs == 1:
            raise Interrupted

    whole, whole_history = fit(dataset, training, tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(dataset, training, tmp_path / "parts", stop)
    torch.manual_seed(99)
    epochs: list[int] = []
    resumed, history = fit(dataset, training, tmp_path / "parts", lambda history: epochs.append(history.epochs))

    assert epochs == [2, 3]
    assert history == whole_history
    assert state(resumed) == state(whole)


def test_the_scaler_is_that_of_the_training_part(dataset: PriceDataset, small: PriceTraining, tmp_path: Path) -> None:
    network, _ = fit(dataset, small, tmp_path)

    train = dataset.folds[0].train
    rows = relative(torch.from_numpy(dataset.rows(train.ends)).double())
    np.testing.assert_allclose(network.center, rows.mean(dim=0), atol=1e-6)
    moving = rows.std(dim=0, correction=0) > 1e-12
    np.testing.assert_allclose(network.scale[moving], rows.std(dim=0, correction=0)[moving], rtol=1e-4)
    assert (network.scale[~moving] == 1).all()  # the last close relative to itself
    assert network.return_scale.item() == pytest.approx(np.sqrt(np.mean(train.returns.astype(np.float64) ** 2)))


def test_a_fit_becomes_better_than_its_start(dataset: PriceDataset, small: PriceTraining, tmp_path: Path) -> None:
    training = replace(small, fit=PriceFitConfig(epochs=6, learning_rate=1e-2))

    _, history = fit(dataset, training, tmp_path)

    assert history.train_loss[-1] < history.train_loss[0]


def test_forecasts_are_the_networks_own(dataset: PriceDataset, small: PriceTraining, tmp_path: Path) -> None:
    network, _ = fit(dataset, small, tmp_path)
    ends = dataset.folds[0].test.ends[:10]

    outputs = forecast(network, dataset, ends, CPU)

    with torch.inference_mode():
        np.testing.assert_array_equal(outputs, network(torch.from_numpy(dataset.rows(ends))).double().numpy())
    assert (outputs[:, 1] > 0).all()


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    rates = [_learning_rate(step, 200, 0.01) for step in range(200)]

    assert max(rates) == rates[10] == 0.01
    assert (np.diff(rates[:10]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] < 1e-5


@pytest.mark.parametrize(("right", "expected"), [(0.5, 0.5), (0.7, 0.7), (0.9, 0.9)])
def test_confidence_equals_the_share_of_right_signs(right: float, expected: float) -> None:
    """A model with a constant forecast, far too sure or too unsure of itself."""
    network = ReturnNetwork(torch.nn.Flatten(), 5, 300)
    outputs = np.tile([1.0, 0.5], (10_000, 1))
    returns = np.where(np.arange(10_000) < right * 10_000, 0.1, -0.1).astype(np.float32)

    _calibrate(network, outputs, returns)

    from model_defs.return_network import distribution

    assert distribution(network.sharpness * 2.0).item() == pytest.approx(expected, abs=0.01)


def test_returns_that_are_zero_have_no_sign_to_learn_from() -> None:
    network = ReturnNetwork(torch.nn.Flatten(), 5, 300)

    _calibrate(network, np.tile([1.0, 0.5], (10, 1)), np.zeros(10, dtype=np.float32))

    assert network.sharpness.item() == 1.0


def test_a_price_that_never_moves_is_refused(bars: Bars, small: PriceTraining, tmp_path: Path) -> None:
    frozen = replace(bars, **{name: np.full(len(bars), 10_000) for name in PRICES})
    dataset = bar_dataset(frozen, False, bars.interval_ns, folds=2)

    with pytest.raises(BadData, match="expected moving prices in the training part, got one price throughout"):
        fit(dataset, small, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("epochs", "patience", "batch_windows", "learning_rate", "clip_norm")),
        *(("weight_decay", -0.5), ("seed", -1), ("learning_rate", math.nan)),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"expected {name} .*, got {value}"):
        PriceFitConfig(**{name: value})
