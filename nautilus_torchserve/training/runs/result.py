"""Records of every training: its result, its description, and both in MLflow."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nautilus_torchserve.code_version import git_commit
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.training.fit.checkpoints import History
from nautilus_torchserve.training.runs.folder import TRACKING, interrupted_run, working_folder, write_json
from nautilus_torchserve.training.runs.tracking import TrackedRun, track


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


def describe_run(model: str, seed: int, **parts: Any) -> dict[str, Any]:
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
        The MLflow store does not open, or does not take a value.
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
