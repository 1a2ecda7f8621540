"""Hyper-parameter search of a price model, on the bars before every test bar."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import torch

from nautilus_torchserve.inference.model_files import build_network
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.models.table import PRICE
from nautilus_torchserve.training.fit.loop import Checkpoints, threads
from nautilus_torchserve.training.price.dataset import PriceDataset, bar_dataset, default_max_gap_ns
from nautilus_torchserve.training.price.fit import fit_fold
from nautilus_torchserve.training.price.options import PriceTraining
from nautilus_torchserve.training.runs.result import hash_inputs
from nautilus_torchserve.training.runs.tuning import Report, TuneProgress, TuningResult, tune

BATCHES = (128, 256, 512)
LEARNING_RATES = (3e-4, 1e-2)
WEIGHT_DECAYS = (1e-4, 1e-1)


def tune_price(
    bars: Bars,
    storage: Path,
    trials: int,
    training: PriceTraining,
    on_trial: Callable[[TuneProgress], None] = lambda progress: None,
) -> TuningResult:
    """Search the configuration with the least validation loss; an earlier search is continued.

    Every trial is fitted and validated on the first fold, whose bars lie before all test parts: the configuration has
    seen none of the bars that the evaluation scores.

    Parameters
    ----------
    storage : Path
        SQLite file of the search.
    trials : int
        Total number of trials, those of earlier calls included.
    training : PriceTraining
        Fixes network and number of epochs; the network's shape and the fit's rates are searched.

    Raises
    ------
    BadData
        Too few bars.
    StudyInUse, TuningFailed
        See `training.runs.tuning.tune`.
    """
    max_gap_ns = training.max_gap_ns or default_max_gap_ns(bars.interval_ns)
    dataset = bar_dataset(bars, training.indicators, max_gap_ns, training.folds)
    # What a trial's loss depends on besides its own values is part of the study's name: other studies do not compare.
    study = f"{training.network}-{hash_inputs(bars.sha256, dataset.schema.sha256, max_gap_ns, training.to_dict())[:12]}"

    def objective(configuration: Mapping[str, object], report: Report) -> float:
        return _validation_loss(dataset, training, configuration, report)

    return tune(storage, study, trials, objective, lambda trial: _space(trial, training), training.fit.seed, on_trial)


def _space(trial: optuna.Trial, training: PriceTraining) -> dict[str, object]:
    search = PRICE.network(training.network).search
    network = {name: trial.suggest_categorical(name, values) for name, values in search.items()}
    fit = {
        "learning_rate": trial.suggest_float("learning_rate", *LEARNING_RATES, log=True),
        "weight_decay": trial.suggest_float("weight_decay", *WEIGHT_DECAYS, log=True),
        "batch_windows": trial.suggest_categorical("batch_windows", BATCHES),
    }
    return {"network": network, "fit": fit}


def _validation_loss(
    dataset: PriceDataset, training: PriceTraining, configuration: Mapping[str, Any], report: Report
) -> float:
    shape = {**training.network_config, **configuration["network"]}
    tried = replace(training, network_config=shape, fit=replace(training.fit, **configuration["fit"]))
    with threads(tried.threads), tempfile.TemporaryDirectory(prefix="trial-") as folder:
        _, history = fit_fold(
            dataset,
            dataset.folds[0],
            partial(build_network, {"network": tried.describe_network()}),
            tried.fit,
            torch.device(training.device),
            Checkpoints(Path(folder), "trial"),
            lambda history: report(history.epochs, history.validation_loss[-1]),
        )
    return min(history.validation_loss)
