"""From bars to a price model's run folder: a walk-forward evaluation, and the last fold's model."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_defs.return_network import OUTPUTS
from nautilus_torchserve.code_version import git_commit
from nautilus_torchserve.inference.model_files import build_network
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.training.fit.checkpoints import Checkpoints, History
from nautilus_torchserve.training.fit.threads import threads
from nautilus_torchserve.training.price.baselines import BASELINES, constant_log_likelihood
from nautilus_torchserve.training.price.dataset import MIN_WINDOWS, BarDataset, Fold, bar_dataset, default_max_gap_ns
from nautilus_torchserve.training.price.evaluate import Forecast
from nautilus_torchserve.training.price.fit import fit_fold, forecast
from nautilus_torchserve.training.price.records import Fitted, answers, describe, record
from nautilus_torchserve.training.price.training import PriceTraining
from nautilus_torchserve.training.runs.folder import (
    CHECKPOINTS,
    TRACKING,
    hash_inputs,
    interrupted_run,
    refuse_other_than_run,
    replace_run,
    working_folder,
    write_json,
    write_run,
)
from nautilus_torchserve.training.runs.tracking import TrackedRun, track

EXPERIMENT = "price"
"""What MLflow groups these runs under."""
TOLERANCE = 1e-4
"""Of golden outputs on another device or library version, relative; absolute below 1."""
Artifacts = Callable[["PriceResult"], Iterable[tuple[Path, str]]]
"""Given the finished run, what else is to be kept with it: files or folders, and where."""


@dataclass(frozen=True)
class PriceResult:
    """What a training run gave."""

    folder: Path
    """The run folder."""
    description: dict[str, Any]
    """``model.json``."""
    evaluation: dict[str, Any]
    """``evaluation.json``, which `reporting.evaluation.price_page` shows."""
    mlflow_run_id: str
    """Where it is tracked."""


def train_price(
    bars: Bars,
    out: Path,
    training: PriceTraining,
    on_epoch: Callable[[int, History], None] = lambda fold, history: None,
    artifacts: Artifacts = lambda result: (),
) -> PriceResult:
    """Fit a price model fold by fold and put ``out`` there, or leave everything as it was.

    All is written into a hidden folder beside ``out``, which takes its place at the end. After an
    interruption the same call goes on from the last epoch in there; on a CPU the outcome is the same to the
    bit. The run is tracked in MLflow, an interrupted and resumed one as one run: see
    `training.runs.tracking`.

    Parameters
    ----------
    bars : Bars
        Checked, see `market.bars.load.load_bars`.
    out : Path
        The run folder; an earlier run there is replaced.
    on_epoch : callable
        Called with the fold's number, from 1, and its history after each epoch.
    artifacts : callable
        Makes what is to be tracked besides the run folder's files: a report, an archive.

    Raises
    ------
    BadData
        Too few bars, or a price that never moves.
    BadRunFolder
        ``out`` holds something that is not a run.
    TrackingFailed
        The MLflow store does not open, or does not take a value.
    """
    out = out.resolve()
    refuse_other_than_run(out)
    max_gap_ns = training.max_gap_ns or default_max_gap_ns(bars.interval_ns)
    dataset = bar_dataset(bars, training.indicators, max_gap_ns, training.folds)
    inputs = hash_inputs(bars.sha256, dataset.schema.sha256, max_gap_ns, training.to_dict())
    working = working_folder(out)
    working.mkdir(parents=True, exist_ok=True)
    facts = {
        "data.source": bars.source,
        "data.sha256": bars.sha256,
        "data.first_ts_event": str(bars.ts_event[0]),
        "data.last_ts_event": str(bars.ts_event[-1]),
        "instrument_id": bars.instrument.instrument_id,
        "git_commit": git_commit() or "outside of a checkout",
    }
    params = {**training.to_dict(), "max_gap_ns": max_gap_ns, "interval_ns": bars.interval_ns}
    earlier = interrupted_run(working, inputs)
    with threads(training.threads), track(out.parent, EXPERIMENT, out.name, params, facts, earlier) as tracked:
        write_json(working / TRACKING, {"inputs": inputs, "mlflow_run_id": tracked.run_id})
        fitted = []
        for fold in dataset.folds:
            fitted.append(_fit(dataset, fold, training, working, inputs, _both(tracked, fold, on_epoch)))
            _track(tracked, fold, fitted[-1].history)
        evaluation = record(dataset, training, fitted)
        description = describe(dataset, training, fitted[-1], evaluation, max_gap_ns)
        _write(working, dataset, fitted[-1], description, evaluation)
        replace_run(working, out)
        result = PriceResult(out, description, evaluation, tracked.run_id)
        _keep(tracked, result, artifacts)
    return result


def _both(tracked: TrackedRun, fold: Fold, on_epoch: Callable[[int, History], None]) -> Callable[[History], None]:
    def both(history: History) -> None:
        _track(tracked, fold, history)
        on_epoch(fold.number, history)

    return both


def _track(tracked: TrackedRun, fold: Fold, history: History) -> None:
    """Keep every epoch so far, as one whose checkpoint was written may have been killed before it was tracked."""
    for epoch, (train, validation) in enumerate(zip(history.train_loss, history.validation_loss, strict=True), 1):
        tracked.epoch(fold.number, epoch, {"train_loss": train, "validation_loss": validation})


def _fit(
    dataset: BarDataset,
    fold: Fold,
    training: PriceTraining,
    working: Path,
    inputs: str,
    on_epoch: Callable[[History], None],
) -> Fitted:
    device = torch.device(training.device)
    network, history = fit_fold(
        dataset,
        fold,
        partial(build_network, {"network": training.describe_network()}),
        training.fit,
        device,
        Checkpoints(working / CHECKPOINTS / f"fold-{fold.number}"),
        inputs,
        on_epoch,
    )
    foreseen = forecast(network, dataset, fold.test.ends, device)
    return Fitted(
        fold,
        network.cpu(),
        history,
        Forecast(
            returns=fold.test.returns.astype(np.float64),
            location=foreseen[:, 0],
            scale=foreseen[:, 1],
            sharpness=np.full(len(foreseen), network.sharpness.item()),
            baselines={name: rule(dataset, fold) for name, rule in BASELINES.items()},
            constant_log_likelihood=constant_log_likelihood(fold),
        ),
    )


def _write(
    working: Path, dataset: BarDataset, served: Fitted, description: dict[str, Any], evaluation: dict[str, Any]
) -> None:
    test = served.fold.test
    rows = dataset.rows(test.ends[np.linspace(0, len(test) - 1, MIN_WINDOWS).astype(np.int64)])
    golden = dict(zip(OUTPUTS, answers(served.network, rows).T, strict=True))
    write_run(working, description, evaluation, served.network, golden, {"rows": rows}, TOLERANCE)


def _keep(tracked: TrackedRun, result: PriceResult, artifacts: Artifacts) -> None:
    scores, gains = result.evaluation["scores"]["model"], result.evaluation["gains"]
    numbers = {
        "test_rmse_bps": scores["rmse_bps"],
        "test_mae_bps": scores["mae_bps"],
        "test_directional_accuracy": scores["directional_accuracy"],
        "test_log_likelihood": result.evaluation["log_likelihood"]["model"],
        "rmse_gain_bps": gains["rmse"]["gain_bps"],
        "ece": result.evaluation["calibration"]["ece"],
    }
    tracked.metrics({name: value for name, value in numbers.items() if value is not None})
    tracked.tags({"edge": result.evaluation["edge"]})
    for path in sorted(entry for entry in result.folder.iterdir() if entry.is_file()):
        tracked.artifact(path, "run")
    for path, folder in artifacts(result):
        tracked.artifact(path, folder)
