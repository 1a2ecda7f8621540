"""From trades to a tick model's run folder."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model_defs.tick_classifier import CLASSES, TickClassifier, TickClassifierConfig
from nautilus_torchserve.code_version import git_commit
from nautilus_torchserve.features.tick import WINDOW, tick_schema
from nautilus_torchserve.market.price_sketch import fit_record
from nautilus_torchserve.market.trades.labels import LabelConfig
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.training.fit.checkpoints import Checkpoints, History
from nautilus_torchserve.training.runs.folder import (
    CHECKPOINTS,
    hash_inputs,
    refuse_other_than_run,
    replace_run,
    working_folder,
    write_run,
)
from nautilus_torchserve.training.tick.dataset import MIN_ROWS, DatasetSplit, tick_dataset
from nautilus_torchserve.training.tick.evaluate import evaluate
from nautilus_torchserve.training.tick.fit import FitConfig, fit, probabilities

TOLERANCE = 1e-5
"""Of golden outputs on another device or library version."""


@dataclass(frozen=True)
class Result:
    """What a training run gave."""

    folder: Path
    """The run folder."""
    description: dict[str, Any]
    """``model.json``."""
    evaluation: dict[str, Any]
    """``evaluation.json``."""
    epochs: int
    """Epochs done, those before an interruption included."""
    best_epoch: int
    """The one whose weights were kept."""


def train_tick(
    trades: Trades,
    out: Path,
    labels: LabelConfig,
    fit_config: FitConfig,
    network_config: TickClassifierConfig | None = None,
    on_epoch: Callable[[History], None] = lambda history: None,
) -> Result:
    """Fit a tick classifier and put ``out`` there, or leave everything as it was.

    All is written into a hidden folder beside ``out``, which takes its place at the end. After
    an interruption the same call goes on from the last epoch in there. The same inputs give
    the same bytes.

    Parameters
    ----------
    trades : Trades
        Checked, see `market.trades.load.load`.
    out : Path
        The run folder; an earlier run there is replaced.
    on_epoch : callable
        Called with the history after each epoch.

    Raises
    ------
    BadData
        Too little data, or a class is missing.
    BadRunFolder
        ``out`` holds something that is not a run.
    """
    out = out.resolve()
    refuse_other_than_run(out)
    network_config = network_config or TickClassifierConfig()
    split = tick_dataset(trades, labels)
    parts = (tick_schema(), labels, fit_config, network_config)
    inputs = hash_inputs(trades.sha256, *(asdict(part) for part in parts))
    working = working_folder(out)
    network, history = fit(split, network_config, fit_config, Checkpoints(working / CHECKPOINTS), inputs, on_epoch)
    train, test = (probabilities(network, part.rows) for part in (split.train, split.test))
    evaluation = evaluate(split, train, test, fit_config.seed)
    description = {
        "model": "tick",
        "network": {"module": TickClassifier.__module__, "config": asdict(network_config)},
        "classes": list(CLASSES),
        "feature_schema": tick_schema(WINDOW).to_dict(),
        "scaler": {"center": network.center.tolist(), "scale": network.scale.tolist()},
        "label": asdict(labels),
        "training": _training_facts(trades, split),
        "fits": [fit_record(trades, *(int(trades.ts_event[at]) for at in split.fitted))],
        "metrics": {
            **evaluation["model"],
            **{name: evaluation[name] for name in ("trade_probability", "gains", "beats_baselines", "edge")},
        },
        "seed": fit_config.seed,
        "git_commit": git_commit(),
        "torch": torch.__version__,
    }
    golden_rows, golden = _golden(network, split)
    asked = {"rows": golden_rows}
    write_run(working, description, {**evaluation, "history": asdict(history)}, network, golden, asked, TOLERANCE)
    replace_run(working, out)
    return Result(out, description, evaluation, history.epochs, history.best_epoch)


def _training_facts(trades: Trades, split: DatasetSplit) -> dict[str, Any]:
    first, last = split.fitted
    return {
        "source": trades.source,
        "sha256": trades.sha256,
        "simulated": trades.simulated,
        "read": trades.read.as_dict(),
        "notes": list(trades.notes),
        "instrument_id": trades.instrument.instrument_id,
        "trades": len(trades),
        "train_rows": len(split.train),
        "validation_rows": len(split.validation),
        "test_rows": len(split.test),
        "first_ts_event": int(trades.ts_event[first]),
        "last_ts_event": int(trades.ts_event[last]),
        "test_first_ts_event": int(trades.ts_event[split.test.index[0]]),
    }


def _golden(network: TickClassifier, split: DatasetSplit) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Rows from all over the test part, with the probabilities that the network gives them."""
    spread = np.linspace(0, len(split.test) - 1, MIN_ROWS).astype(np.int64)
    rows = split.test.rows[spread]
    return rows, dict(zip(CLASSES, probabilities(network, rows).T, strict=True))
