"""Models of a user's own: rows or windows of numbers through any network, or program, to any outputs."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nautilus_torchserve.inference.explain.integrate import Integral, TimeLimit, integrate, select_output
from nautilus_torchserve.inference.model import RowModel
from nautilus_torchserve.inference.model_files import BadArchive, import_named
from nautilus_torchserve.inference.programs import Program
from nautilus_torchserve.inference.tiles import WINDOW_TILES
from nautilus_torchserve.wire.body import RowRequest
from nautilus_torchserve.wire.errors import NotExplained
from nautilus_torchserve.wire.output_constraints import PROBABILITY, OutputConstraints

Activation = Callable[[Any], Any]
"""Outputs of a network to outputs of its model, row by row."""
BASELINE = "every value at its mean over the golden inputs"
FLOOR = 1e-4
"""Completeness error allowed in an explanation, in the output's unit."""
ACTIVATIONS: Mapping[str | None, Activation] = {
    "softmax": lambda logits: logits.softmax(dim=1),
    "sigmoid": lambda logits: logits.sigmoid(),
    None: lambda outputs: outputs,
}


class GenericModel(RowModel):
    """Float32 rows [n, columns] or windows [n, time_steps, columns] to the outputs that ``model.json`` names.

    ``model.json`` has ``outputs`` (names, in order) and ``activation`` (see `models.spec.ModelSpec`); a network's
    result is one that `as_columns` takes.
    """

    def load(self, folder: Path) -> tuple[int, ...]:
        self.output_names = read_output_names(self.description)
        activation = self.description.get("activation")
        self._is_named = activation in ACTIVATIONS
        self._activation: Activation = ACTIVATIONS[activation] if self._is_named else import_named(activation)
        self.constraints = output_constraints(activation, self.output_names)
        if self.schema.time_steps is not None:
            self.base_tiles, self.large_tiles = WINDOW_TILES
        sizes = super().load(folder)
        is_program = isinstance(self.rows.network, Program)
        self.explained = () if is_program else self.output_names
        return sizes

    def forward(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        return self._outputs(network, rows).float()  # (B, outputs)

    def _outputs(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        result = network(rows)
        if self._is_named:
            result = as_columns(result, self.output_names, len(rows))
            result = result if result.dtype == torch.float64 else result.float()  # half a softmax sums to 1.0003
        return as_columns(self._activation(result), self.output_names, len(rows))

    def explain(self, request: RowRequest, output: str | None, until_s: float) -> list[dict[str, Any]]:
        if not self.explained:
            raise NotExplained("expected a network with gradients to explain, got a program, which has none")
        return super().explain(request, output, until_s)

    def explain_row(
        self, network: nn.Module, row: NDArray[np.float32], output: str | None, limit: TimeLimit
    ) -> dict[str, Any]:
        """Attribute the difference of one output from that of a mean input to the input's values."""
        inputs = torch.from_numpy(row.astype(np.float64)).unsqueeze(0).to(self.device)  # (1, *row_shape)
        golden = torch.from_numpy(self.rows.golden.inputs["rows"].astype(np.float64)).to(self.device)
        mean = golden.mean(dim=0, keepdim=True)
        try:
            with torch.no_grad():
                largest = self.output_names[int(self._outputs(network, inputs).argmax())]
            name = select_output(output, largest, self.output_names)
            index = self.output_names.index(name)
            integral = integrate(lambda rows: self._outputs(network, rows)[:, index], (inputs,), (mean,), FLOOR, limit)
        except (RuntimeError, TypeError, IndexError) as error:
            message = " ".join(str(error).split())
            raise NotExplained(f"expected a network with gradients in float64 to explain, got {message:.200}") from None
        return {"output": name, **integral.to_dict(), "baseline": BASELINE, **self._parts(row, mean[0], integral)}

    def _parts(self, row: NDArray[np.float32], mean: torch.Tensor, integral: Integral) -> dict[str, Any]:
        """Return the part of an explanation about its row or window, in plain JSON types."""
        (attributions,), values = integral.attributions, row.astype(np.float64).tolist()
        columns = self.schema.columns
        if self.schema.time_steps is not None:
            names = [column.name for column in columns]
            return {"columns": names, "window": values, "attributions": attributions.tolist()}
        parts = zip(columns, values, mean.tolist(), attributions.tolist(), strict=True)
        return {
            "features": [
                {"name": column.name, "unit": column.unit, "value": value, "baseline": at, "attribution": attribution}
                for column, value, at, attribution in parts
            ]
        }


def as_columns(result: Any, names: Sequence[str], rows: int) -> torch.Tensor:
    """Return what a network returned for so many rows as one tensor [rows, outputs].

    Parameters
    ----------
    result : tensor, or tuple, list, named tuple or dict of these
        A tensor [rows, outputs], or [rows] of a single output. Parts that have the outputs' names are taken by them.
        Those of a tuple are else put side by side in their order, or the only one that has all outputs is taken (the
        logits beside an embedding, the probabilities beside a label).
    names : sequence of str
        Names of the outputs.

    Raises
    ------
    BadArchive
        It is something else, or has another number of outputs, or has the names of a part of the outputs.
    """
    columns = _columns(result, names, rows)
    if columns is None:
        raise BadArchive(
            f"expected {len(names)} outputs ({', '.join(names):.100}) for each of {rows} rows, got {_shapes(result)}"
        )
    return columns


def _columns(result: Any, names: Sequence[str], rows: int) -> torch.Tensor | None:
    """Return the columns, None where there are no such, or where it is open which ones."""
    if torch.is_tensor(result):
        column = result.unsqueeze(1) if result.dim() == 1 else result
        return column if column.shape == (rows, len(names)) and not column.is_complex() else None
    if isinstance(result, tuple) and hasattr(result, "_asdict"):
        named = result._asdict()
    elif isinstance(result, Mapping):
        named = result
    elif isinstance(result, tuple | list):
        named = dict(enumerate(result))
    else:
        return None
    if named.keys() >= set(names):
        return _side_by_side({name: named[name] for name in names}, names, rows)
    if not isinstance(result, Mapping) and (together := _side_by_side(named, names, rows)) is not None:
        return together
    if not named.keys().isdisjoint(names) or (isinstance(result, Mapping) and len(named) > 1):
        return None
    whole = [columns for part in named.values() if (columns := _columns(part, names, rows)) is not None]
    return whole[0] if len(whole) == 1 else None


def _side_by_side(parts: Mapping[Any, Any], names: Sequence[str], rows: int) -> torch.Tensor | None:
    """Return parts as one tensor where they are all outputs, and those with an output's name are in its place."""
    columns = [part.unsqueeze(1) if torch.is_tensor(part) and part.dim() == 1 else part for part in parts.values()]
    if not columns or not all(torch.is_tensor(part) and part.dim() == 2 and len(part) == rows for part in columns):
        return None
    starts = accumulate((part.shape[1] for part in columns), initial=0)
    if any(part in names and names.index(part) != start for part, start in zip(parts, starts, strict=False)):
        return None
    return _columns(torch.cat(columns, dim=1), names, rows)


def _shapes(result: Any) -> str:
    if torch.is_tensor(result):
        return f"{str(result.dtype).removeprefix('torch.')} {list(result.shape)}"
    if isinstance(result, Mapping):
        return ", ".join(f"{name}: {_shapes(value)}" for name, value in result.items()) or "an empty dict"
    if isinstance(result, tuple | list):
        return f"({', '.join(map(_shapes, result))})"
    return type(result).__name__


def read_output_names(description: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ``outputs`` of a ``model.json``; raise `BadArchive` where they are no names."""
    names = description.get("outputs")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise BadArchive(f"model.json: expected outputs as a list of names, got {names!r:.60}")
    return tuple(names)


def output_constraints(activation: str | None, names: tuple[str, ...]) -> OutputConstraints:
    """Return what an activation makes sure of; outputs of any other need only be finite."""
    if activation not in ("softmax", "sigmoid"):
        return OutputConstraints()
    return OutputConstraints(dict.fromkeys(names, PROBABILITY), (names,) if activation == "softmax" else ())
