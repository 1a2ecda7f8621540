"""Records of every training: its result, its description, and both in MLflow."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from nautilus_torchserve.code_version import git_commit
from nautilus_torchserve.inference.model_files import DESCRIPTION, GOLDEN, WEIGHTS
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.models.spec import GoldenRule, ModelSpec
from nautilus_torchserve.training.fit.loop import History
from nautilus_torchserve.training.runs.tracking import TrackedRun, track
from nautilus_torchserve.user_error import UserError

EVALUATION = "evaluation.json"
CHECKPOINTS = "checkpoints"
TRACKING = "tracking.json"
REPORT = "report"
TOKENIZER = "tokenizer.json"
"""Tokenizer of a model of texts."""
CONTENTS = frozenset((DESCRIPTION, WEIGHTS, GOLDEN, TOKENIZER, EVALUATION, CHECKPOINTS, TRACKING, REPORT))
"""Names in a run folder, besides the folders of a model's members."""


@dataclass(frozen=True)
class TrainingResult:
    """A finished training run."""

    folder: Path
    """The run folder."""
    description: dict[str, Any]
    """``model.json``."""
    evaluation: dict[str, Any]
    """``evaluation.json``."""
    histories: tuple[History, ...] = ()
    """History of each fold's fit; empty where there are no epochs."""
    mlflow_run_id: str | None = None
    """Id of the MLflow run; None where it is not tracked."""


Artifacts = Callable[[TrainingResult], Iterable[tuple[Path, str]]]
"""Returns what is tracked besides the files of the run folder: files or folders, each with its folder in MLflow."""


def no_artifacts(result: TrainingResult) -> Iterable[tuple[Path, str]]:
    """Return nothing to track besides the run folder."""
    return ()


def describe_run(model: str, seed: int | None, **parts: Any) -> dict[str, Any]:
    """Return the content of ``model.json``: these parts, and what code they come from."""
    return {"model": model, **parts, "seed": seed, "git_commit": git_commit(), "torch": torch.__version__}


def market_facts(data: Trades | Bars) -> dict[str, Any]:
    """Return where market data come from, in plain JSON types."""
    return {
        "source": data.source,
        "sha256": data.sha256,
        "simulated": data.simulated,
        "read": data.read.as_dict(),
        "notes": list(data.notes),
        "instrument_id": data.instrument.instrument_id,
    }


@contextmanager
def track_training(
    out: Path, model: str, params: Mapping[str, object], tags: Mapping[str, str], inputs: str
) -> Iterator[TrackedRun]:
    """Track what happens inside as one MLflow run of the experiment ``model``.

    An interrupted training with the same ``inputs`` continues its MLflow run: the working folder has its id.

    Parameters
    ----------
    params, tags : mapping
        See `training.runs.tracking.track`.
    inputs : str
        Hash of everything that the outcome depends on.

    Raises
    ------
    TrackingFailed
        The MLflow store cannot be opened, or rejects a value.
    """
    working = working_folder(out)
    working.mkdir(parents=True, exist_ok=True)
    tags = {**tags, "git_commit": git_commit() or "outside of a checkout"}
    with track(out.parent, model, out.name, params, tags, interrupted_run(working, inputs)) as tracked:
        write_json(working / TRACKING, {"inputs": inputs, "mlflow_run_id": tracked.run_id})
        yield tracked


def track_history(tracked: TrackedRun, history: History, fold: int = 1) -> None:
    """Track every epoch so far: a run may be killed between writing a checkpoint and tracking its epoch."""
    for epoch, (train, validation) in enumerate(zip(history.train_loss, history.validation_loss, strict=True), 1):
        tracked.epoch(fold, epoch, {"train_loss": train, "validation_loss": validation})


def track_result(
    tracked: TrackedRun, result: TrainingResult, metrics: Mapping[str, float | None], artifacts: Artifacts
) -> None:
    """Track the known ones of the metrics, the verdict, the files of the run folder, and the artifacts."""
    tracked.metrics({name: value for name, value in metrics.items() if value is not None})
    tracked.tags({"edge": result.evaluation["edge"]})
    for path in sorted(entry for entry in result.folder.iterdir() if entry.is_file()):
        tracked.artifact(path, "run")
    for path, folder in artifacts(result):
        tracked.artifact(path, folder)


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
        weights = {name: value.cpu().clone().contiguous() for name, value in network.state_dict().items()}
        save_file(weights, working / WEIGHTS)
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
