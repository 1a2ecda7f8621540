"""From trades to a run folder: what an archive is built from, complete or not there."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from features.tick import WINDOW, tick_schema
from handlers.model_files import DESCRIPTION, GOLDEN, WEIGHTS
from market.labels import LabelConfig
from market.trades import Trades
from model_defs.tick_classifier import CLASSES, TickClassifier, TickClassifierConfig
from training.checkpoints import Checkpoints, History
from training.dataset import MIN_ROWS, DatasetSplit, tick_dataset
from training.evaluate import evaluate
from training.fit import FitConfig, fit, probabilities

EVALUATION = "evaluation.json"
CHECKPOINTS = "checkpoints"
TOLERANCE = 1e-5
"""Of golden outputs on another device or library version."""


class BadRunFolder(ValueError):
    """A folder that must not be replaced by a run."""


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
        Checked, see `market.source.load`.
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
    _refuse_other_than_run(out)
    network_config = network_config or TickClassifierConfig()
    split = tick_dataset(trades, labels)
    inputs = _hash(trades.sha256, asdict(tick_schema()), asdict(labels), asdict(fit_config), asdict(network_config))
    working = out.with_name(f".{out.name}.partial")
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
        "metrics": {
            **evaluation["model"],
            **{name: evaluation[name] for name in ("trade_probability", "gains", "beats_baselines", "edge")},
        },
        "seed": fit_config.seed,
        "git_commit": git_commit(),
        "torch": torch.__version__,
    }
    _write_json(working / DESCRIPTION, description)
    _write_json(working / EVALUATION, {**evaluation, "history": asdict(history)})
    save_file(network.state_dict(), working / WEIGHTS)
    _write_golden(working / GOLDEN, network, split)
    _replace(working, out)
    return Result(out, description, evaluation, history.epochs, history.best_epoch)


def git_commit() -> str | None:
    """The checkout's commit, with ``-dirty`` where it has changes; None outside of a checkout."""
    root = Path(__file__).parents[1]

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "--no-optional-locks", *words], cwd=root, capture_output=True, text=True, check=False
        )

    try:
        head = git("rev-parse", "--verify", "HEAD")
    except FileNotFoundError:  # no git on this host
        return None
    if head.returncode:
        return None
    return head.stdout.strip() + ("-dirty" if git("status", "--porcelain").stdout else "")


def _training_facts(trades: Trades, split: DatasetSplit) -> dict[str, Any]:
    first, last = split.fitted
    return {
        "source": trades.source,
        "sha256": trades.sha256,
        "simulated": trades.simulated,
        "instrument_id": trades.instrument.instrument_id,
        "trades": len(trades),
        "train_rows": len(split.train),
        "validation_rows": len(split.validation),
        "test_rows": len(split.test),
        "first_ts_event": int(trades.ts_event[first]),
        "last_ts_event": int(trades.ts_event[last]),
        "test_first_ts_event": int(trades.ts_event[split.test.index[0]]),
    }


def _write_golden(path: Path, network: TickClassifier, split: DatasetSplit) -> None:
    """Rows from all over the test part with the probabilities that the network gives them."""
    spread = np.linspace(0, len(split.test) - 1, MIN_ROWS).astype(np.int64)
    rows = split.test.rows[spread]
    outputs = probabilities(network, rows)
    named = {f"output.{name}": np.ascontiguousarray(outputs[:, at]) for at, name in enumerate(CLASSES)}
    np.savez(path, rows=rows, tolerance=np.float64(TOLERANCE), **named)  # type: ignore[arg-type]


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def _hash(*values: object) -> str:
    canonical = json.dumps([*values, torch.__version__], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _refuse_other_than_run(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise BadRunFolder(f"{out}: a folder expected, was a file")
    foreign = {entry.name for entry in out.iterdir()} - {DESCRIPTION, WEIGHTS, GOLDEN, EVALUATION, CHECKPOINTS}
    if foreign:
        raise BadRunFolder(f"{out}: a new folder or an earlier run expected, was one with {', '.join(sorted(foreign))}")


def _replace(working: Path, out: Path) -> None:
    """Put the finished folder in its place; both moves are renames in one folder."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    working.rename(out)
    shutil.rmtree(old, ignore_errors=True)
