import numpy as np
import torch
from torch import nn

from model_defs.return_network import ReturnNetwork
from nautilus_torchserve.training.price.dataset import PriceDataset
from nautilus_torchserve.training.price.fit import _fit_scaler
from nautilus_torchserve.training.price.records import importance


class LastVolume(nn.Module):
    """An encoder that looks at the last bar's volume and nothing else."""

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        return window[:, -1, 4:5]


def network_on(encoder: nn.Module, dataset: PriceDataset) -> ReturnNetwork:
    network = ReturnNetwork(encoder, 5, 1)
    _fit_scaler(network, dataset, dataset.folds[0].train)
    with torch.no_grad():
        network.head.weight.copy_(torch.tensor([[0.0], [3.0]]))  # the scale follows it
    return network.eval()


def test_unused_inputs_have_no_importance(dataset: PriceDataset) -> None:
    measured = importance(network_on(LastVolume(), dataset), dataset, dataset.folds[0].test, seed=1)

    columns = {row["column"]: row["nll_rise"] for row in measured["importance"]}
    steps = {row["steps"]: row["nll_rise"] for row in measured["importance_steps"]}
    assert {name for name, rise in columns.items() if rise} == {"volume"}
    assert {name for name, rise in steps.items() if rise} == {"last bar"}
    assert columns["volume"] == steps["last bar"] or np.sign(columns["volume"]) == np.sign(steps["last bar"])


def test_every_column_and_every_step_has_its_place_the_greatest_first(dataset: PriceDataset) -> None:
    measured = importance(network_on(LastVolume(), dataset), dataset, dataset.folds[0].test, seed=1)

    rises = [row["nll_rise"] for row in measured["importance"]]
    assert sorted(row["column"] for row in measured["importance"]) == ["close", "high", "low", "open", "volume"]
    assert rises == sorted(rises, reverse=True)
    assert [row["steps"] for row in measured["importance_steps"]] == [
        "last bar",
        "2 to 4 back",
        "5 to 12 back",
        "13 to 32 back",
        "33 to 60 back",
    ]
