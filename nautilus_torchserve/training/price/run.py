"""Trains a price model, from bars to a run folder: a walk-forward evaluation, and the last fold's model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student_t
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_defs.return_network import DEGREES_OF_FREEDOM, OUTPUTS
from nautilus_torchserve.features.bar import CLOSE, VOLUME
from nautilus_torchserve.inference.model_files import build_network
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.models.table import PRICE
from nautilus_torchserve.training.fit.loop import Checkpoints, History, threads
from nautilus_torchserve.training.price.dataset import Fold, PriceDataset, bar_dataset, default_max_gap_ns
from nautilus_torchserve.training.price.evaluate import Forecast
from nautilus_torchserve.training.price.fit import fit_fold, forecast
from nautilus_torchserve.training.price.options import PriceTraining
from nautilus_torchserve.training.price.records import FitResult, describe, predict_windows, record
from nautilus_torchserve.training.runs.result import (
    CHECKPOINTS,
    Artifacts,
    TrainingResult,
    check_replaceable,
    golden_places,
    hash_inputs,
    no_artifacts,
    replace_run,
    track_history,
    track_result,
    track_training,
    working_folder,
    write_run,
)
from nautilus_torchserve.training.runs.tracking import TrackedRun

LAGS = 10
"""Number of last returns that the linear baseline uses."""
RIDGE = 1.0
"""Penalty of the linear baseline, on standardised inputs."""


def train_price(
    bars: Bars,
    out: Path,
    training: PriceTraining,
    on_epoch: Callable[[int, History], None] = lambda fold, history: None,
    artifacts: Artifacts = no_artifacts,
) -> TrainingResult:
    """Fit a price model fold by fold and write its run folder, or leave everything as it was.

    Everything is written into a hidden folder beside ``out``, which takes its place at the end. After an interruption
    the same call continues after the last epoch there; on a CPU the outcome has the same bits. The run is tracked in
    MLflow, an interrupted and resumed one as one run: see `training.runs.tracking`.

    Parameters
    ----------
    bars : Bars
        Checked, see `market.bars.load.load_bars`.
    out : Path
        The run folder; an earlier run there is replaced.
    on_epoch : callable
        Called with the fold's number, from 1, and its history after each epoch.
    artifacts : callable
        Makes what is tracked besides the files of the run folder: a report, an archive.

    Raises
    ------
    BadData
        Too few bars, or a price that never moves.
    BadRunFolder
        ``out`` holds something that is not a run.
    TrackingFailed
        The MLflow store cannot be opened, or rejects a value.
    """
    out = out.resolve()
    check_replaceable(out, PRICE)
    max_gap_ns = training.max_gap_ns or default_max_gap_ns(bars.interval_ns)
    dataset = bar_dataset(bars, training.indicators, max_gap_ns, training.folds)
    inputs = hash_inputs(bars.sha256, dataset.schema.sha256, max_gap_ns, training.to_dict())
    working = working_folder(out)
    facts = {
        "data.source": bars.source,
        "data.sha256": bars.sha256,
        "data.first_ts_event": str(bars.ts_event[0]),
        "data.last_ts_event": str(bars.ts_event[-1]),
        "instrument_id": bars.instrument.instrument_id,
    }
    params = {**training.to_dict(), "max_gap_ns": max_gap_ns, "interval_ns": bars.interval_ns}
    with threads(training.threads), track_training(out, PRICE.name, params, facts, inputs) as tracked:
        folds = []
        for fold in dataset.folds:
            checkpoints = Checkpoints(working / CHECKPOINTS / f"fold-{fold.number}", inputs)
            folds.append(_fit(dataset, fold, training, checkpoints, _on_epoch(tracked, fold, on_epoch)))
            track_history(tracked, folds[-1].history, fold.number)
        evaluation = record(dataset, training, folds)
        description = describe(dataset, training, folds[-1], evaluation, max_gap_ns)
        _write(working, dataset, folds[-1], description, evaluation)
        replace_run(working, out)
        histories = tuple(fold.history for fold in folds)
        result = TrainingResult(out, description, evaluation, histories, tracked.run_id)
        track_result(tracked, result, _metrics(evaluation), artifacts)
    return result


def _on_epoch(tracked: TrackedRun, fold: Fold, on_epoch: Callable[[int, History], None]) -> Callable[[History], None]:
    def track_and_report(history: History) -> None:
        track_history(tracked, history, fold.number)
        on_epoch(fold.number, history)

    return track_and_report


def _fit(
    dataset: PriceDataset,
    fold: Fold,
    training: PriceTraining,
    checkpoints: Checkpoints,
    on_epoch: Callable[[History], None],
) -> FitResult:
    device = torch.device(training.device)
    network, history = fit_fold(
        dataset,
        fold,
        partial(build_network, {"network": training.describe_network()}),
        training.fit,
        device,
        checkpoints,
        on_epoch,
    )
    predicted = forecast(network, dataset, fold.test.ends, device)
    return FitResult(
        fold,
        network.cpu(),
        history,
        Forecast(
            returns=fold.test.returns.astype(np.float64),
            location=predicted[:, 0],
            scale=predicted[:, 1],
            sharpness=np.full(len(predicted), network.sharpness.item()),
            baselines={name: rule(dataset, fold) for name, rule in BASELINES.items()},
            constant_log_likelihood=constant_log_likelihood(fold),
        ),
    )


def _write(
    working: Path, dataset: PriceDataset, served: FitResult, description: dict[str, Any], evaluation: dict[str, Any]
) -> None:
    test = served.fold.test
    rows = dataset.rows(test.ends[golden_places(len(test), PRICE.golden)])
    golden = dict(zip(OUTPUTS, predict_windows(served.network, rows).T, strict=True))
    write_run(working, description, evaluation, served.network, golden, {"rows": rows}, PRICE.golden.tolerance)


def _metrics(evaluation: dict[str, Any]) -> dict[str, float | None]:
    scores = evaluation["scores"]["model"]
    return {
        "test_rmse_bps": scores["rmse_bps"],
        "test_mae_bps": scores["mae_bps"],
        "test_directional_accuracy": scores["directional_accuracy"],
        "test_log_likelihood": evaluation["log_likelihood"]["model"],
        "rmse_gain_bps": evaluation["gains"]["rmse"]["gain_bps"],
        "ece": evaluation["calibration"]["ece"],
    }


def no_change(dataset: PriceDataset, fold: Fold) -> NDArray[np.float64]:
    """Forecast a return of zero: an efficient market."""
    return np.zeros(len(fold.test))


def last_return(dataset: PriceDataset, fold: Fold) -> NDArray[np.float64]:
    """Forecast the last return: momentum in its simplest form."""
    return _last_returns(dataset, fold.test.ends, 1)[:, 0]


def linear(dataset: PriceDataset, fold: Fold) -> NDArray[np.float64]:
    """Forecast by ridge regression on the last returns, the last relative volume and the indicators, if any."""
    model = make_pipeline(StandardScaler(), Ridge(RIDGE))
    model.fit(_inputs(dataset, fold.train.ends), fold.train.returns.astype(np.float64))
    return model.predict(_inputs(dataset, fold.test.ends))


BASELINES = {"no change": no_change, "last return": last_return, "linear": linear}


def constant_log_likelihood(fold: Fold) -> NDArray[np.float64]:
    """Return the log density of each test return under one Student t for all bars, fitted to the training part."""
    train, test = fold.train.returns.astype(np.float64), fold.test.returns.astype(np.float64)
    degrees, location, scale = student_t.fit(train / (spread := train.std()), fdf=DEGREES_OF_FREEDOM)
    return student_t.logpdf(test, degrees, location * spread, scale * spread)


def _inputs(dataset: PriceDataset, ends: NDArray[np.int64]) -> NDArray[np.float64]:
    rows = dataset.columns[ends].astype(np.float64)
    window = dataset.schema.time_steps or 1
    total = np.concatenate([[0.0], np.cumsum(dataset.columns[:, VOLUME], dtype=np.float64)])
    mean = (total[ends + 1] - total[ends + 1 - window]) / window
    volume = np.log(np.maximum(rows[:, VOLUME], 0.0) / np.maximum(mean, np.finfo(float).tiny) + 0.01)
    return np.column_stack([_last_returns(dataset, ends, LAGS), volume, rows[:, VOLUME + 1 :]])


def _last_returns(dataset: PriceDataset, ends: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the log returns of the bars at and before these ends, the newest first [m, count]."""
    logs = np.log(dataset.columns[:, CLOSE].astype(np.float64))
    return np.stack([logs[ends - lag] - logs[ends - lag - 1] for lag in range(count)], axis=1)
