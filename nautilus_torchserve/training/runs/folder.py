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
from nautilus_torchserve.user_error import UserError

EVALUATION = "evaluation.json"
CHECKPOINTS = "checkpoints"
TRACKING = "tracking.json"
REPORT = "report"
TOKENIZER = "tokenizer.json"
"""Of a model of texts."""
MEMBERS = ("price", "sentiment")
"""Of an ensemble: the folders that hold their runs."""
CONTENTS = frozenset((*MEMBERS, DESCRIPTION, WEIGHTS, GOLDEN, TOKENIZER, EVALUATION, CHECKPOINTS, TRACKING, REPORT))


class BadRunFolder(UserError, ValueError):
    """A folder that must not be replaced by a run."""


def refuse_other_than_run(out: Path) -> None:
    """Raise `BadRunFolder` when ``out`` is there and holds something that no run writes."""
    if not out.exists():
        return
    if not out.is_dir():
        raise BadRunFolder(f"{out}: a folder expected, was a file")
    foreign = {entry.name for entry in out.iterdir()} - CONTENTS
    if foreign:
        raise BadRunFolder(f"{out}: a new folder or an earlier run expected, was one with {', '.join(sorted(foreign))}")


def working_folder(out: Path) -> Path:
    """The hidden folder beside ``out`` that a run is written into, and goes on from after an interruption."""
    return out.with_name(f".{out.name}.partial")


def interrupted_run(working: Path, inputs: str) -> str | None:
    """The MLflow run that an interrupted training with the same ``inputs`` left in `TRACKING`; None without one."""
    path = working / TRACKING
    if not path.is_file():
        return None
    kept = json.loads(path.read_text())
    return kept["mlflow_run_id"] if kept["inputs"] == inputs else None


def write_run(
    working: Path,
    description: dict[str, Any],
    evaluation: dict[str, Any],
    network: nn.Module | None,
    golden: dict[str, NDArray[np.float32]],
    asked: dict[str, NDArray[Any]],
    tolerance: float,
) -> None:
    """Write all that an archive is built from.

    Parameters
    ----------
    network : nn.Module, optional
        None for an ensemble, whose members have their own.
    golden : dict
        Output name -> float32 [n], what the network answers to ``asked``, in the order in which it answers.
    asked : dict
        What a handler of this model takes: ``{"rows": float32 [n, *row_shape]}``, ``{"texts": str [n]}``, ...
    tolerance : float
        Of golden outputs on another device or library version.
    """
    working.mkdir(parents=True, exist_ok=True)
    write_json(working / DESCRIPTION, description)
    write_json(working / EVALUATION, evaluation)
    if network is not None:
        # Copies: safetensors refuses tensors that share their memory, as tied weights do.
        save_file({name: value.clone() for name, value in network.state_dict().items()}, working / WEIGHTS)
    named = {f"output.{name}": np.ascontiguousarray(values) for name, values in golden.items()}
    np.savez(working / GOLDEN, tolerance=np.float64(tolerance), **asked, **named)  # type: ignore[arg-type]


def replace_run(working: Path, out: Path) -> None:
    """Put the finished folder in its place; both moves are renames in one folder."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    working.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """The same value, the same bytes."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def hash_inputs(*values: object) -> str:
    """Hash of all that decides a fit's outcome, torch's version included; plain JSON types."""
    canonical = json.dumps([*values, torch.__version__], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
