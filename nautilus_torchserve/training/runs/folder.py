"""A run folder: what an archive is built from, complete or not there."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from nautilus_torchserve.inference.model_files import DESCRIPTION, GOLDEN, WEIGHTS
from nautilus_torchserve.models.spec import GoldenRule, ModelSpec
from nautilus_torchserve.user_error import UserError

EVALUATION = "evaluation.json"
CHECKPOINTS = "checkpoints"
TRACKING = "tracking.json"
REPORT = "report"
TOKENIZER = "tokenizer.json"
"""Tokenizer of a model of texts."""
CONTENTS = frozenset((DESCRIPTION, WEIGHTS, GOLDEN, TOKENIZER, EVALUATION, CHECKPOINTS, TRACKING, REPORT))
"""Names in a run folder, besides the folders of a model's members."""


class BadRunFolder(UserError, ValueError):
    """A folder that must not be replaced by a run."""


def check_replaceable(out: Path, spec: ModelSpec) -> None:
    """Raise `BadRunFolder` where ``out`` exists and holds something that no run of this model writes."""
    if not out.exists():
        return
    if not out.is_dir():
        raise BadRunFolder(f"{out}: expected a folder, got a file")
    members = () if spec.training is None else spec.training.members
    foreign = {entry.name for entry in out.iterdir()} - CONTENTS.union(members)
    if foreign:
        raise BadRunFolder(f"{out}: expected a new folder or an earlier run, got one with {', '.join(sorted(foreign))}")


def working_folder(out: Path) -> Path:
    """Return the hidden folder beside ``out`` that a run is written into, and continued from after an interruption."""
    return out.with_name(f".{out.name}.partial")


def golden_places(rows: int, rule: GoldenRule) -> NDArray[np.int64]:
    """Return which of the test part's rows become golden inputs: places in increasing order, evenly spread."""
    return np.unique(np.linspace(0, rows - 1, rule.inputs).astype(np.int64))


def interrupted_run(working: Path, inputs: str) -> str | None:
    """Return the id of the MLflow run that an interrupted training with the same ``inputs`` left, None without one."""
    path = working / TRACKING
    if not path.is_file():
        return None
    tracking = json.loads(path.read_text())
    return tracking["mlflow_run_id"] if tracking["inputs"] == inputs else None


def write_run(
    working: Path,
    description: dict[str, Any],
    evaluation: dict[str, Any],
    network: nn.Module | None,
    golden: dict[str, NDArray[np.float32]],
    inputs: dict[str, NDArray[Any]],
    tolerance: float,
) -> None:
    """Write everything that an archive is built from.

    Parameters
    ----------
    network : nn.Module, optional
        None for a model of members, which have their own networks.
    golden : dict
        Output -> float32 [n], the golden outputs in the order of a response.
    inputs : dict
        The golden inputs: ``{"rows": float32 [n, *row_shape]}``, ``{"texts": str [n]}``, ...
    tolerance : float
        Largest difference of golden outputs on another device or library version.
    """
    working.mkdir(parents=True, exist_ok=True)
    write_json(working / DESCRIPTION, description)
    write_json(working / EVALUATION, evaluation)
    if network is not None:
        # Copies: safetensors refuses tensors that share their memory, as tied weights do.
        save_file({name: value.clone() for name, value in network.state_dict().items()}, working / WEIGHTS)
    named = {f"output.{name}": np.ascontiguousarray(values) for name, values in golden.items()}
    np.savez(working / GOLDEN, tolerance=np.float64(tolerance), **inputs, **named)  # type: ignore[arg-type]


def replace_run(working: Path, out: Path) -> None:
    """Move the finished folder to its place, by two renames in one folder."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    working.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a value as JSON; equal values give equal bytes."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def hash_inputs(*values: object) -> str:
    """Return the hash of everything that a fit's outcome depends on, torch's version included; plain JSON types."""
    canonical = json.dumps([*values, torch.__version__], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
