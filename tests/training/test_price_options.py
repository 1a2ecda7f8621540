import json
from pathlib import Path

import pytest

from nautilus_torchserve.training.price.options import price_training
from nautilus_torchserve.training.runs.config import BadConfig


def test_all_settings_have_defaults() -> None:
    training = price_training("price_lstm")

    assert training.network_config["hidden"] == 128
    assert training.fit.epochs == 15
    assert not training.indicators
    assert price_training("cnn").indicators


def test_settings_override_the_file_and_the_file_overrides_defaults(tmp_path: Path) -> None:
    path = tmp_path / "best.json"
    path.write_text(json.dumps({"network": {"hidden": 64, "layers": 3}, "fit": {"learning_rate": 0.01}}))

    training = price_training("price_lstm", path, ["network.hidden=32", "network.cell=gru", "fit.epochs=4"])

    assert (training.network_config["hidden"], training.network_config["layers"]) == (32, 3)
    assert training.network_config["cell"] == "gru"
    assert (training.fit.epochs, training.fit.learning_rate) == (4, 0.01)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("hidden=32", "expected network.NAME=VALUE or fit.NAME=VALUE, got 'hidden=32'"),
        ("network.hidden", "expected network.NAME=VALUE or fit.NAME=VALUE"),
        ("network.width=3", "settings: network: expected one of inputs, hidden, .*, got 'width'"),
        ("network.hidden=wide", "settings: network.hidden: expected int, got 'wide'"),
        ("network.cell=rnn", r"settings: network.cell: expected Literal\['lstm', 'gru'\], got 'rnn'"),
        ("fit.epochs=0", "settings: fit: expected epochs of at least 1, got 0"),
    ],
)
def test_an_invalid_setting_is_refused(setting: str, expected: str) -> None:
    with pytest.raises(BadConfig, match=expected):
        price_training("price_lstm", settings=[setting])


def test_an_unknown_model_or_device_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a network of price_lstm, residual, cnn, patchtst, got 'mamba'"):
        price_training("mamba")
    with pytest.raises(BadConfig, match="expected device auto, cpu or cuda, got 'tpu'"):
        price_training("price_lstm", device="tpu")
