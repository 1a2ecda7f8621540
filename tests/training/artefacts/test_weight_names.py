"""Weights are matched with a network's by the parts of their names that wrappers leave."""

from pathlib import Path

import pytest
import torch
from torch import nn

from nautilus_torchserve.training.artefacts.state_dict import BadWeights, fit_weights


def layers() -> nn.Module:
    """A network with ``layers.0.weight`` and ``layers.2.weight``, of one value each."""
    network = nn.Module()
    network.layers = nn.Sequential(nn.RMSNorm(1), nn.Identity(), nn.RMSNorm(1))
    return network


@pytest.mark.parametrize(
    "names",
    [
        ("0.weight", "2.weight"),
        ("layers.module.0.weight", "layers._orig_mod.2.weight"),
        ("trainer.policy.layers.0.weight", "trainer.policy.layers.2.weight"),
    ],
)
def test_weights_are_matched_by_what_their_names_have_in_common(names: tuple[str, ...]) -> None:
    weights = {name: torch.tensor([float(at)]) for at, name in enumerate(names)}

    fitted = fit_weights(weights, layers(), Path("weights.pt"))

    assert {name: value.item() for name, value in fitted.items()} == {"layers.0.weight": 0.0, "layers.2.weight": 1.0}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("0.weight",), r"expected layers\.2\.weight, which the network has, got none"),
        (("0.weight", "2.weight", "4.weight"), r"expected the weights of the network alone, got also 4\.weight"),
        (("a.0.weight", "b.2.weight"), r"got none; it has a\.0\.weight, b\.2\.weight"),
        (("student.layers.0.weight", "student.layers.2.weight", "teacher.layers.0.weight"), r"got also teacher"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadWeights, match=message):
        fit_weights({name: torch.zeros(1) for name in names}, layers(), Path("weights.pt"))
