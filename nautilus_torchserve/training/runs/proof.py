"""The model of a run folder as a worker loads it: written, computed, and compared with the trained network."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.inference.model import InferenceModel, RowModel
from nautilus_torchserve.inference.model_files import BadArchive
from nautilus_torchserve.inference.models.generic import GenericModel, as_columns
from nautilus_torchserve.inference.programs import Program
from nautilus_torchserve.models.spec import describe_failure, load_object
from nautilus_torchserve.training.runs.result import write_run
from nautilus_torchserve.user_error import UserError

_ALREADY = 1e-5
"""Distance from 1 of the sum of what are taken for probabilities."""


def write_model(
    working: Path,
    description: dict[str, Any],
    evaluation: dict[str, Any],
    network: nn.Module | None,
    golden: dict[str, NDArray[Any]],
    tolerance: float,
) -> InferenceModel:
    """Write a run folder twice: golden outputs are those of the model as a worker loads it from there.

    Parameters
    ----------
    network : nn.Module, optional
        Whose weights are written; None where ``working`` has them, or a program.

    Raises
    ------
    BadArchive
        The model does not load, or its outputs are not finite.
    """
    write_run(working, description, evaluation, network, {}, golden, tolerance)
    model_class: type[InferenceModel] = load_object(description["inference"])
    with _as_worker(), _computing(description):
        model = model_class(working, "0", gpu_id=None)
        table = model.compute([model.golden_request(golden)])
    model.check_finite(table)
    outputs = dict(zip(model.output_names, table.T, strict=True))
    write_run(working, description, evaluation, network, outputs, golden, tolerance)
    return model


def check_rows_alone(model: InferenceModel, golden: Mapping[str, NDArray[Any]], tolerance: float) -> None:
    """Check that outputs of a row do not depend on the other rows of its batch, and are no probabilities beforehand.

    Raises
    ------
    BadArchive
        They do (batch normalisation that was exported in training mode), or the activation would be applied twice.
    """
    if not isinstance(model, RowModel):
        return
    rows = torch.from_numpy(golden["rows"])
    network = model.rows.network
    if isinstance(network, Program) and not network.tiles((len(rows),)):
        return  # it takes no other batches than those of its tiles
    with torch.inference_mode(), _computing(model.description):
        together = model.forward(network, rows).numpy()
        is_softmax = isinstance(model, GenericModel) and model.description["activation"] == "softmax"
        raw = network(rows) if is_softmax else None
    error = _difference(together, model.rows.compute(golden["rows"]))
    if not error <= tolerance:
        raise BadArchive(
            f"expected outputs of a row that do not depend on the other rows of its batch, got ones off by {error:g}: "
            "save the network in evaluation mode (network.eval()), without dynamic quantisation"
        )
    logits = None if raw is None else as_columns(raw, model.output_names, len(rows))
    if logits is not None and bool((logits >= 0).all()) and bool(((logits.sum(dim=1) - 1).abs() < _ALREADY).all()):
        raise BadArchive("expected logits, which softmax is applied to, got probabilities: use activation None")


def check_same(model: InferenceModel, network: nn.Module, golden: Mapping[str, NDArray[Any]], tolerance: float) -> None:
    """Raise `BadArchive` unless the network built from its configuration computes what the trained one does."""
    check_rows_alone(model, golden, tolerance)
    if not isinstance(model, RowModel):
        return
    device = next((values.device for values in network.parameters()), torch.device("cpu"))
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.inference_mode(), _computing(model.description):
            outputs = model.forward(network, torch.from_numpy(golden["rows"]).to(device)).cpu().numpy()
    finally:
        for module, mode in modes.items():
            module.training = mode
    error = _difference(outputs, model.rows.compute(golden["rows"]))
    if not error <= tolerance:
        raise BadArchive(
            f"expected outputs of the network that {model.description['network']['module']} builds with this config "
            f"within {tolerance:g} of the trained network's, got one off by {error:g}: pass the config that it was "
            "built with"
        )


@contextmanager
def _computing(description: Mapping[str, Any]) -> Iterator[None]:
    """Raise `BadArchive` for whatever a network raises; for a program, the last line: its own trace comes first."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        is_program = "program" in description["network"]
        reason = "".join(str(error).strip().splitlines()[-1:]) if is_program else describe_failure(error)
        shape = ", ".join(map(str, ("n", *FeatureSchema.from_dict(description["feature_schema"]).row_shape)))
        raise BadArchive(
            f"expected a network that computes float32 rows of shape [{shape}], got "
            f"{reason or type(error).__name__:.300}"
        ) from error


def _difference(outputs: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float((np.abs(outputs - expected) / np.maximum(np.abs(expected), 1.0)).max())


@contextmanager
def _as_worker() -> Iterator[None]:
    """Compute as a worker does, which loading a model sets torch to; afterwards, random numbers too are as before."""
    count, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(count)
        torch.set_float32_matmul_precision(precision)
