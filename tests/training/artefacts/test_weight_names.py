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


class Tied(nn.Module):
    """Two names of one weight, a normalised one, and a count."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(2)
        self.direction = nn.utils.parametrizations.weight_norm(nn.Linear(2, 1, bias=False))


def changed(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """The weights of a `Tied`, with some others, without those that are None."""
    weights = dict(Tied().state_dict()) | {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in weights.items() if value is not None}


ONES = torch.ones(2, 2)
NORMALISED = "direction__parametrizations__weight__original"


@pytest.mark.parametrize(
    "weights",
    [
        changed(second__weight=None),
        changed(norm__num_batches_tracked=None),
        changed(norm__num_batches_tracked=torch.tensor(7.0, dtype=torch.float16)),
        changed(
            **{f"{NORMALISED}0": None, f"{NORMALISED}1": None},
            direction__weight_g=torch.ones(1, 1),
            direction__weight_v=torch.ones(1, 2),
        ),
    ],
    ids=["tied weights once", "no count", "a count in half", "earlier weight_norm"],
)
def test_weights_are_loaded_as_pytorch_loads_them(weights: dict[str, torch.Tensor]) -> None:
    network = Tied()

    fitted = fit_weights(weights, network, Path("weights.pt"))

    assert fitted.keys() == Tied().state_dict().keys()
    assert torch.equal(fitted["first.weight"], weights["first.weight"])
    assert torch.equal(fitted["second.weight"], weights["first.weight"])
    if "direction.weight_g" in weights:
        assert torch.allclose(network.direction.weight, torch.full((1, 2), 0.5**0.5))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (changed(second__weight=ONES), r"expected second\.weight as first\.weight, with which the network shares it"),
        (
            changed(norm__num_batches_tracked=torch.tensor(0.5)),
            "with values of torch.int64, got others in torch.float32",
        ),
        (
            changed(norm__weight=torch.full((2,), 1e300, dtype=torch.float64)),
            "norm.weight with values of torch.float32",
        ),
        (
            changed(norm__weight=ONES[0].to(torch.complex64)),
            "expected norm.weight as torch.float32, got torch.complex64",
        ),
        (
            changed(norm__weight=None, norm__weight_mask=ONES),
            r"expected norm\.weight, .* got none; it has norm\.weight_mask",
        ),
    ],
    ids=["tied weights differ", "a fraction as count", "too large", "complex", "pruned"],
)
def test_weights_that_the_network_cannot_hold_are_refused(weights: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(BadWeights, match=message):
        fit_weights(weights, Tied(), Path("weights.pt"))
