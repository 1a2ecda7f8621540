"""The evaluation and the description of a trained price model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model_defs.return_network import OUTPUTS, ReturnNetwork, negative_log_likelihood, predict
from nautilus_torchserve.inference.explain.integrate import TimeLimit, float64_copy
from nautilus_torchserve.inference.models.price import explain_window
from nautilus_torchserve.market.bars.checks import examine
from nautilus_torchserve.market.price_sketch import fit_record
from nautilus_torchserve.models.table import PRICE
from nautilus_torchserve.training.fit.loop import History, threads
from nautilus_torchserve.training.price.dataset import Fold, Part, PriceDataset
from nautilus_torchserve.training.price.evaluate import Forecast, evaluate, scores
from nautilus_torchserve.training.price.options import PriceTraining
from nautilus_torchserve.training.runs.result import describe_run, market_facts
from nautilus_torchserve.training.runs.tracking import flatten

WINDOWS = 1024
"""Number of test windows, evenly spread."""
REPEATS = 3
"""Number of shuffles of each input, which are averaged."""
STEP_GROUPS = (1, 3, 8, 20)
"""The last bar, the 2 or 3 before it and so on: groups of time steps, counted back; the rest is one more."""


@dataclass(frozen=True, eq=False)
class FitResult:
    """The fit of one fold."""

    fold: Fold
    network: ReturnNetwork
    """The network with the best epoch's weights, on the CPU."""
    history: History
    forecast: Forecast
    """Forecasts of the fold's test windows."""


def predict_windows(network: ReturnNetwork, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a worker's outputs for raw windows, float32 [m, 4]: it computes on one thread."""
    with threads(1), torch.inference_mode():
        return predict(network.eval(), torch.from_numpy(rows)).numpy()


def left_out_notes(dataset: PriceDataset) -> list[str]:
    """Return notes on windows that fit and evaluation leave out for their values."""
    if not dataset.without_volume:
        return []
    return [f"{dataset.without_volume:,} windows without any volume were left out, as they are when predicting."]


def record(dataset: PriceDataset, training: PriceTraining, fitted: list[FitResult]) -> dict[str, Any]:
    """Return ``evaluation.json``: what `reporting.evaluation.price_page` shows, in plain JSON types."""
    bars, last = dataset.bars, fitted[-1]
    forecasts = Forecast.concat([fold.forecast for fold in fitted])
    block_rows = max(1, min(dataset.schema.window, len(forecasts.returns) // 20))
    return {
        "title": f"{training.network} on {bars.instrument.instrument_id}",
        "network": training.network,
        **evaluate(forecasts, block_rows, training.fit.seed),
        "folds": [_fold_facts(dataset, fitted_fold) for fitted_fold in fitted],
        **importance(last.network, dataset, last.fold.test, training.fit.seed),
        "explained": _explained(dataset, last),
        "history": [
            {
                "fold": fitted_fold.fold.number,
                "train_loss": fitted_fold.history.train_loss,
                "validation_loss": fitted_fold.history.validation_loss,
            }
            for fitted_fold in fitted
        ],
        "data": {
            **market_facts(bars),
            "bars": len(bars),
            "interval": f"{bars.interval_ns / 1e9:g} s",
            "from": int(bars.ts_event[0]),
            "to": int(bars.ts_event[-1]),
            "findings": [*examine(bars).lines(), *left_out_notes(dataset)],
            "windows": len(bars) - dataset.left_out,
            "left_out": dataset.left_out,
            "without_volume": dataset.without_volume,
        },
        "settings": {name: str(value) for name, value in flatten(training.to_dict()).items()},
        "model_facts": {
            "Parameters": f"{sum(values.numel() for values in last.network.parameters()):,}",
            "Columns": ", ".join(column.name for column in dataset.schema.columns),
            "Confidence sharpness": f"{last.network.sharpness.item():.3f}",
        },
    }


def _explained(dataset: PriceDataset, result: FitResult) -> dict[str, Any]:
    """Explain the most confident forecast of a fold's test windows."""
    surest = np.abs(result.forecast.location / result.forecast.scale).argmax()
    end = result.fold.test.ends[surest]
    (window,) = dataset.rows(np.array([end]))
    with threads(1):
        explanation = explain_window(float64_copy(result.network), window, dataset.schema.columns, None, TimeLimit())
    return {"ts_event": int(dataset.bars.ts_event[end]), "explanation": explanation}


def _fold_facts(dataset: PriceDataset, result: FitResult) -> dict[str, Any]:
    fold, ts_event = result.fold, dataset.bars.ts_event
    return {
        "number": fold.number,
        "train_windows": len(fold.train),
        "validation_windows": len(fold.validation),
        "test_windows": len(fold.test),
        "test_from": int(ts_event[fold.test.ends[0]]),
        "test_to": int(ts_event[fold.test.ends[-1]]),
        "epochs": result.history.epochs,
        "best_epoch": result.history.best_epoch,
        "scores": scores(result.forecast),
    }


def describe(
    dataset: PriceDataset, training: PriceTraining, served: FitResult, evaluation: dict[str, Any], max_gap_ns: int
) -> dict[str, Any]:
    """Return ``model.json``, the description of the served model."""
    bars, fold, network = dataset.bars, served.fold, served.network
    first, last = dataset.fitted
    confidence = predict_windows(network, dataset.rows(fold.validation.ends[-1024:]))[:, OUTPUTS.index("confidence")]
    return describe_run(
        PRICE.name,
        training.fit.seed,
        network=training.describe_network(),
        feature_schema=dataset.schema.to_dict(),
        bars={"interval_ns": bars.interval_ns, "max_gap_ns": max_gap_ns, "indicators": training.indicators},
        scaler={name: getattr(network, name).tolist() for name in ("center", "scale", "return_scale", "sharpness")},
        label={"horizon_bars": 1},
        training={
            **market_facts(bars),
            "bars": len(bars),
            "train_rows": len(fold.train),
            "validation_rows": len(fold.validation),
            "test_rows": len(fold.test),
            "first_ts_event": int(bars.ts_event[first]),
            "last_ts_event": int(bars.ts_event[last]),
            "test_first_ts_event": int(bars.ts_event[fold.test.ends[0]]),
        },
        fits=[fit_record(bars, int(bars.ts_event[first]), int(bars.ts_event[last]))],
        metrics={
            **evaluation["scores"]["model"],
            **{name: evaluation[name] for name in ("gains", "log_likelihood", "beats_baselines", "edge")},
            "confidence": {f"p{at}": float(np.percentile(confidence, at)) for at in (50, 90, 99)},
        },
    )


def importance(network: ReturnNetwork, dataset: PriceDataset, part: Part, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Measure the permutation importance (Breiman 2001; Fisher, Rudin & Dominici 2019) of columns and of time steps.

    Inputs are shuffled across windows after they were made relative and standardised, a column over all its steps at
    once. Columns with the same information (open, high, low, close) can replace each other.

    Returns
    -------
    dict
        ``importance``: ``column``, ``nll_rise`` (nats a bar), ``rmse_rise_bps``, the largest rise first;
        ``importance_steps``: ``steps``, ``nll_rise``, the last bar first.
    """
    chosen = np.unique(np.linspace(0, len(part) - 1, WINDOWS).astype(np.int64))
    returns = torch.from_numpy(part.returns[chosen])
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        standard = network.standardise(torch.from_numpy(dataset.rows(part.ends[chosen])))  # (B, T, F)
        nll, rmse = _scores(network, standard, returns)

        def rise(steps: slice, at: slice) -> tuple[float, float]:
            rises = []
            for _ in range(REPEATS):
                shuffled = standard.clone()
                shuffled[:, steps, at] = standard[torch.randperm(len(standard), generator=generator)][:, steps, at]
                worse_nll, worse_rmse = _scores(network, shuffled, returns)
                rises.append((worse_nll - nll, worse_rmse - rmse))
            nll_rise, rmse_rise = np.mean(rises, axis=0).tolist()
            return nll_rise, rmse_rise

        columns: list[dict[str, Any]] = []
        for at, column in enumerate(dataset.schema.columns):
            nll_rise, rmse_rise = rise(slice(None), slice(at, at + 1))
            columns.append({"column": column.name, "nll_rise": nll_rise, "rmse_rise_bps": 1e4 * rmse_rise})
        steps: list[dict[str, Any]] = []
        for name, where in _step_groups(standard.shape[1]):
            nll_rise, _ = rise(where, slice(None))
            steps.append({"steps": name, "nll_rise": nll_rise})
    columns.sort(key=lambda column: column["nll_rise"], reverse=True)
    return {"importance": columns, "importance_steps": steps}


def _scores(network: ReturnNetwork, standard: torch.Tensor, returns: torch.Tensor) -> tuple[float, float]:
    outputs = torch.cat([network.from_standard(batch) for batch in standard.split(256)])
    error = (outputs[:, 0] - returns).square().mean().sqrt().item()
    return negative_log_likelihood(outputs, returns).mean().item(), error


def _step_groups(time_steps: int) -> list[tuple[str, slice]]:
    groups, newest = [], 0
    for size in (*STEP_GROUPS, time_steps):
        oldest = min(newest + size, time_steps)
        if oldest > newest:
            name = "last bar" if oldest == 1 else f"{newest + 1} to {oldest} back"
            groups.append((name, slice(time_steps - oldest, time_steps - newest)))
        newest = oldest
    return groups
