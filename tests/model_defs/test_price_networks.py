"""The four price networks: what each of them promises, and what is one's own."""

import subprocess
import sys
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model_defs.cnn_lstm import CnnLSTM, CnnLSTMConfig
from model_defs.return_network import CLOSE, OUTPUTS, PRICES, VOLUME, ReturnNetwork, negative_log_likelihood, predict
from nautilus_torchserve.features.bar import bar_columns, window_ends, windows
from nautilus_torchserve.market.bars.bars import PRICES as PRICE_NAMES
from nautilus_torchserve.market.bars.simulator import simulate_bars
from support import PROJECT

torch.set_num_threads(1)
NETWORKS: dict[str, dict[str, Any]] = {
    "price_lstm": {"hidden": 32},
    "residual_price_lstm": {"hidden": 32, "heads": 4},
    "cnn_lstm": {"channels": 16, "hidden": 32},
    "patch_tst": {"hidden": 16, "feed_forward": 32},
}
"""Module -> a small network of its kind."""
UNDONE_BY_SOFTMAX = ("score.bias", "k_proj.bias")
"""Parameters that no output depends on: softmax takes no notice of what is added to all its inputs."""


@pytest.fixture(params=[5, 13], ids=["ohlcv", "indicators"], scope="module")
def rows(request: pytest.FixtureRequest) -> torch.Tensor:
    """Windows of simulated bars, float32 [16, 60, 5 or 13]."""
    bars = simulate_bars(140)
    ohlcv = np.stack([*(bars.prices(name) for name in PRICE_NAMES), bars.volumes()], axis=1)
    columns = bar_columns(ohlcv, indicators=request.param == 13)
    ends = window_ends(bars.ts_event, bars.interval_ns, lookback=107)[:16]
    return torch.from_numpy(windows(columns, ends))


def build(module: str, **config: Any) -> nn.Module:
    torch.manual_seed(5)
    return import_module(f"model_defs.{module}").build({**NETWORKS[module], **config})


def opinionated(module: str, **config: Any) -> ReturnNetwork:
    """A network that, unlike a fresh one, forecasts something else for each window."""
    network = build(module, **config)
    assert isinstance(network, ReturnNetwork)
    nn.init.normal_(network.head.weight, std=0.3)
    network.scale[:, :PRICES] = 3e-3
    network.return_scale.fill_(1e-3)
    return network


@pytest.mark.parametrize("module", NETWORKS)
def test_each_window_gets_an_answer_of_its_own(module: str, rows: torch.Tensor) -> None:
    with torch.inference_mode():
        answer = predict(opinionated(module, inputs=rows.shape[2]).eval(), rows)

    assert answer.shape == (len(rows), len(OUTPUTS))
    assert answer.dtype == torch.float32
    assert torch.isfinite(answer).all()
    assert len(answer[:, 1].unique()) == len(rows)


@pytest.mark.parametrize("module", NETWORKS)
def test_fresh_network_forecasts_no_change(module: str, rows: torch.Tensor) -> None:
    with torch.inference_mode():
        answer = predict(build(module, inputs=rows.shape[2]).eval(), rows)

    assert torch.equal(answer[:, 0], rows[:, -1, CLOSE])
    assert not answer[:, 1].any()


@pytest.mark.parametrize("module", NETWORKS)
def test_units_change_no_bit_of_anything_but_the_price(module: str, rows: torch.Tensor) -> None:
    network = opinionated(module, inputs=rows.shape[2]).eval()
    other = rows.clone()
    other[..., :PRICES] *= 2.0**-7
    other[..., VOLUME] *= 2.0**9

    with torch.inference_mode():
        answer, same = predict(network, rows), predict(network, other)

    assert torch.equal(same[:, 1:], answer[:, 1:])
    assert torch.equal(same[:, 0], answer[:, 0] * 2.0**-7)


@pytest.mark.parametrize("module", NETWORKS)
def test_first_and_last_bar_matter(module: str, rows: torch.Tensor) -> None:
    network = opinionated(module, inputs=rows.shape[2]).eval()
    first, last = rows.clone(), rows.clone()
    first[:, :8, VOLUME] *= 3  # the first patch of PatchTST
    last[:, -1, VOLUME] *= 3

    with torch.inference_mode():
        answer, with_first, with_last = (network(window) for window in (rows, first, last))

    assert (with_first != answer).any(dim=1).all()
    assert (with_last != answer).any(dim=1).all()


@pytest.mark.parametrize("module", NETWORKS)
def test_dropout_is_for_training_only(module: str, rows: torch.Tensor) -> None:
    network = opinionated(module, inputs=rows.shape[2])

    with torch.no_grad():
        training = [network.train()(rows) for _ in range(2)]
        serving = [network.eval()(rows) for _ in range(2)]

    assert not torch.equal(*training)
    assert torch.equal(*serving)


@pytest.mark.parametrize("module", NETWORKS)
def test_gradient_reaches_all_parameters(module: str, rows: torch.Tensor) -> None:
    network = opinionated(module, inputs=rows.shape[2], dropout=0.0).train()

    negative_log_likelihood(network(rows), torch.randn(len(rows)) * 1e-3).mean().backward()

    parameters = {name: value for name, value in network.named_parameters() if value.requires_grad}
    without = {name for name, value in parameters.items() if value.grad is None or not value.grad.any()}
    assert {name for name in without if not name.endswith(UNDONE_BY_SOFTMAX)} == set()
    assert all(torch.isfinite(value.grad).all() for value in parameters.values() if value.grad is not None)


@pytest.mark.parametrize("module", NETWORKS)
def test_same_seed_makes_the_same_network(module: str) -> None:
    weights, again = build(module).state_dict(), build(module).state_dict()

    assert all(torch.equal(again[name], value) for name, value in weights.items())


@pytest.mark.parametrize("module", NETWORKS)
def test_unknown_field_is_refused_by_name(module: str) -> None:
    with pytest.raises(TypeError, match="hiden"):
        build(module, hiden=64)


@pytest.mark.parametrize(
    ("module", "config", "says"),
    [
        ("price_lstm", {"cell": "rnn"}, "expected cell lstm or gru, got 'rnn'"),
        ("residual_price_lstm", {"layers": 0}, "expected layers of at least 1, got 0"),
        ("residual_price_lstm", {"heads": 5}, "expected hidden as a multiple of heads, got 32 with 5 heads"),
        ("cnn_lstm", {"kernel": 0}, "expected kernel of at least 1, got 0"),
        ("cnn_lstm", {"convolutions": 0}, "expected convolutions of at least 1, got 0"),
        ("patch_tst", {"patch": 60}, "expected patch from 1 to time_steps - 1, got 60 of 60"),
        ("patch_tst", {"stride": 0}, "expected stride of at least 1, got 0"),
        ("patch_tst", {"heads": 3}, "expected hidden as a multiple of heads, got 16 with 3 heads"),
    ],
)
def test_impossible_shape_is_refused_by_name(module: str, config: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build(module, **config)


def test_cells_are_lstm_or_gru() -> None:
    lstm, gru = (build("price_lstm", **config).get_submodule("encoder.cells") for config in ({}, {"cell": "gru"}))

    assert isinstance(lstm, nn.LSTM)
    assert isinstance(gru, nn.GRU)


@pytest.mark.parametrize("changed", [0, 1, 30, 59])
def test_convolutional_front_is_causal(changed: int) -> None:
    torch.manual_seed(2)
    front = CnnLSTM(CnnLSTMConfig()).eval().front
    series = torch.randn(1, 13, 60)
    other = series.clone()
    other[..., changed] += 10

    with torch.inference_mode():
        differs = (front(series) != front(other)).any(dim=1)[0]

    assert not differs[:changed].any()
    assert differs[changed]
    assert len(differs) == 60


def test_patch_tst_is_built_without_a_network_and_without_a_word() -> None:
    code = """
import socket
def refuse(*_): raise AssertionError("patch_tst opened a socket")
socket.socket.connect = refuse
import torch
from model_defs.patch_tst import build
print(tuple(build({"inputs": 13})(torch.ones(2, 60, 13)).shape))
"""

    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False
    )

    assert (result.stdout, result.stderr) == ("(2, 2)\n", "")
