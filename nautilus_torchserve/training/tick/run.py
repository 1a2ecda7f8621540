"""Trains a tick model, from trades to a run folder."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_defs.tick_classifier import CLASSES, TickClassifier, TickClassifierConfig
from nautilus_torchserve.features.tick import WINDOW, tick_schema
from nautilus_torchserve.market.price_sketch import fit_record
from nautilus_torchserve.market.trades.labels import LabelConfig
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.models.table import TICK
from nautilus_torchserve.training.fit.loop import Checkpoints, History
from nautilus_torchserve.training.runs.result import (
    CHECKPOINTS,
    TrainingResult,
    check_replaceable,
    describe_run,
    golden_places,
    hash_inputs,
    market_facts,
    replace_run,
    working_folder,
    write_run,
)
from nautilus_torchserve.training.tick.dataset import DatasetSplit, tick_dataset
from nautilus_torchserve.training.tick.evaluate import evaluate
from nautilus_torchserve.training.tick.fit import TickFitConfig, fit, probabilities


def train_tick(
    trades: Trades,
    out: Path,
    labels: LabelConfig,
    fit_config: TickFitConfig,
    on_epoch: Callable[[History], None] = lambda history: None,
) -> TrainingResult:
    """Fit a tick classifier and write its run folder, or leave everything as it was.

    Everything is written into a hidden folder beside ``out``, which takes its place at the end. After an interruption
    the same call continues after the last epoch there. The same inputs give the same bytes.

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
    check_replaceable(out, TICK)
    network_config = TickClassifierConfig()
    split = tick_dataset(trades, labels)
    parts = (tick_schema(), labels, fit_config, network_config)
    inputs = hash_inputs(trades.sha256, *(asdict(part) for part in parts))
    working = working_folder(out)
    network, history = fit(split, network_config, fit_config, Checkpoints(working / CHECKPOINTS, inputs), on_epoch)
    train, test = (probabilities(network, part.rows) for part in (split.train, split.test))
    evaluation = evaluate(split, train, test, fit_config.seed)
    description = describe_run(
        TICK.name,
        fit_config.seed,
        network={"module": TickClassifier.__module__, "config": asdict(network_config)},
        classes=list(CLASSES),
        feature_schema=tick_schema(WINDOW).to_dict(),
        scaler={"center": network.center.tolist(), "scale": network.scale.tolist()},
        label=asdict(labels),
        training=_training_facts(trades, split),
        fits=[fit_record(trades, *(int(trades.ts_event[at]) for at in split.fitted))],
        metrics={
            **evaluation["model"],
            **{name: evaluation[name] for name in ("trade_probability", "gains", "beats_baselines", "edge")},
        },
    )
    rows = split.test.rows[golden_places(len(split.test), TICK.golden)]
    golden = dict(zip(CLASSES, probabilities(network, rows).T, strict=True))
    evaluation["history"] = asdict(history)
    write_run(working, description, evaluation, network, golden, {"rows": rows}, TICK.golden.tolerance)
    replace_run(working, out)
    return TrainingResult(out, description, evaluation, (history,))


def _training_facts(trades: Trades, split: DatasetSplit) -> dict[str, Any]:
    first, last = split.fitted
    return {
        **market_facts(trades),
        "trades": len(trades),
        "train_rows": len(split.train),
        "validation_rows": len(split.validation),
        "test_rows": len(split.test),
        "first_ts_event": int(trades.ts_event[first]),
        "last_ts_event": int(trades.ts_event[last]),
        "test_first_ts_event": int(trades.ts_event[split.test.index[0]]),
    }
