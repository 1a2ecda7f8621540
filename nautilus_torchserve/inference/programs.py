"""Programs: networks in a file that computes without a module of ours, as TorchScript, ONNX and torch.export write."""

import math
import os
from collections import namedtuple
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import nn

from nautilus_torchserve.inference.model_files import BadArchive

ONNX_TYPES = {"tensor(float)": torch.float32, "tensor(double)": torch.float64, "tensor(float16)": torch.float16}
"""Input types of ONNX programs that rows are converted to."""
_USUAL_BATCH = 16
"""Rows of a call that shows whether a program computes more than a single batch size."""
_FILE_OPERATORS = ("aten::save", "aten::from_file")
"""Operators with which TorchScript reads and writes files."""
_CODE = ("custom_obj", "opaque_obj", "aotinductor")
"""Parts of the names of those members of a torch.export file that hold code: pickled objects, compiled libraries."""


class Program(nn.Module):
    """A loaded program.

    Parameters
    ----------
    run : callable
        Rows, float32 [n, *row_shape], to a tensor, or a tuple or dict of tensors.
    batches : tuple of float
        Fewest and most rows of a call.
    row_shape : tuple of int, optional
        Shape of one row; None where the file does not tell.

    Shapes
    ------
    input : float32 [batch, *row_shape]
    output : whatever the program returns
    """

    def __init__(
        self,
        run: Callable[[torch.Tensor], Any],
        batches: tuple[float, float] = (1, math.inf),
        row_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.run, self.batches, self.row_shape = run, batches, row_shape

    def forward(self, rows: torch.Tensor) -> Any:
        return self.run(rows)

    def find_batch(self, rows: torch.Tensor) -> None:
        """Find the batch size of a program that computes a single one and does not declare it, as TorchScript may."""
        fewest, most = self.batches
        if fewest > 1 or most < math.inf or self._computes(rows[:_USUAL_BATCH]):
            return
        for size in range(1, len(rows) + 1):
            if self._computes(rows[:size]):
                self.batches = (size, size)
                return

    def _computes(self, rows: torch.Tensor) -> bool:
        try:
            result = self.run(rows)
        except RuntimeError:
            return False
        return not torch.is_tensor(result) or result.shape[:1] == rows.shape[:1]

    def tiles(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Return those of the sizes that the program computes."""
        fewest, most = self.batches
        return tuple(size for size in sizes if fewest <= size <= most)


def load_program(path: Path, program: str, device: torch.device) -> Program:
    """Load a program of one of `PROGRAMS`; nothing in its file runs before it is called.

    Raises
    ------
    BadArchive
        There is no such kind, or the file is none, or needs what is not installed, or could run code of its own.
    """
    if program not in PROGRAMS:
        raise BadArchive(f"{path}: expected a program of {', '.join(PROGRAMS)}, got {program!r}")
    try:
        return PROGRAMS[program](path, device)
    except BadArchive:
        raise
    except UnpicklingError:
        raise BadArchive(f"{path}: expected a program of tensors alone, got one with a pickle that runs code") from None
    except Exception as error:  # the three libraries share no class of errors
        message = " ".join(str(error).split())
        raise BadArchive(f"{path}: expected a {program} program, got {type(error).__name__}: {message:.300}") from error


def _load_torchscript(path: Path, device: torch.device) -> Program:
    script = torch.jit.load(str(path), map_location=device).eval()
    if not hasattr(script, "forward"):
        raise BadArchive(f"{path}: expected a program with the method forward, got one without")
    for operator in _FILE_OPERATORS:
        if script.inlined_graph.findAllNodes(operator, recurse=True):
            raise BadArchive(f"{path}: expected a program without access to files, got one with {operator}")

    def run(rows: torch.Tensor) -> Any:
        # The optimising executor compiles the first calls otherwise than later ones, whose bits then may differ.
        with torch.jit.optimized_execution(False):
            return script(rows)

    return Program(run)


def _load_onnx(path: Path, device: torch.device) -> Program:
    try:
        import onnxruntime
    except ImportError:
        raise BadArchive(
            f"{path}: expected the package onnxruntime (the extra 'onnx') to run ONNX, got none: install it"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # with more, sums have another order
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in ONNX_TYPES or not inputs[0].shape:
        got = ", ".join(f"{put.name} {put.type} {put.shape}" for put in inputs) or "none"
        raise BadArchive(f"{path}: expected one input of floating-point rows, got {got}")
    name, dtype = inputs[0].name, ONNX_TYPES[inputs[0].type]
    outputs = [output.name for output in session.get_outputs() if output.type != "tensor(string)"]
    if not outputs:
        raise BadArchive(f"{path}: expected numbers as outputs, got texts alone: export scores or probabilities, too")
    named_outputs = namedtuple("Outputs", outputs, rename=True)  # type: ignore[misc]  # no identifiers become _0, _1

    def run(rows: torch.Tensor) -> Any:
        values = session.run(outputs, {name: rows.to("cpu", dtype).numpy()})
        return named_outputs(*(_to_torch(value, device) for value in values))

    return Program(run, *_declared(inputs[0].shape))


def _to_torch(value: Any, device: torch.device) -> Any:
    """Return an output as a tensor; ZipMap's probabilities, a dict for each row, as one [n, classes] or by class."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value).to(device)
    if not value or not isinstance(value[0], dict):
        return None
    table = torch.tensor([list(row.values()) for row in value], dtype=torch.float32, device=device)  # (B, classes)
    texts = all(isinstance(label, str) for label in value[0])
    return dict(zip(value[0], table.T, strict=True)) if texts else table


def _load_export(path: Path, device: torch.device) -> Program:
    from torch.export.pt2_archive import PT2ArchiveReader

    with PT2ArchiveReader(str(path)) as reader:
        for member in reader.get_file_names():
            if any(part in member for part in _CODE):
                raise BadArchive(f"{path}: expected a program of tensors alone, got one with {member}, which is code")
    forced = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # else torch.export falls back to unpickling anything
    try:
        exported = torch.export.load(str(path))
    finally:
        if forced is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = forced
    names = exported.graph_signature.user_inputs
    if len(names) != 1:
        raise BadArchive(f"{path}: expected one input, got {', '.join(map(str, names)) or 'none'}")
    (node,) = (node for node in exported.graph.nodes if node.name == names[0])
    shape = list(node.meta["val"].shape)
    batches, row_shape = _declared(shape)
    for symbol, bounds in exported.range_constraints.items():
        if str(symbol) == str(shape[0]):
            batches = max(1.0, float(bounds.lower)), float(bounds.upper)
    return Program(exported.module().to(device), batches, row_shape)


def _declared(shape: list[Any]) -> tuple[tuple[float, float], tuple[int, ...] | None]:
    """Return the batch sizes and the shape of a row that a program declares; a size that is no int is a free one."""
    batch, *row = shape
    batches = (batch, batch) if isinstance(batch, int) else (1, math.inf)
    return batches, tuple(row) if row and all(isinstance(size, int) for size in row) else None


PROGRAMS: Mapping[str, Callable[[Path, torch.device], Program]] = {
    "torchscript": _load_torchscript,
    "onnx": _load_onnx,
    "torch.export": _load_export,
}
"""Kinds of programs, as ``model.json`` calls them."""
