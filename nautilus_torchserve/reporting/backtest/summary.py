"""The key figures of a report, for the page's head, the console and `summary.json`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.reporting.backtest.data import UNKNOWN, ReportData, answered, probabilities
from nautilus_torchserve.scores.account import AccountHistory
from nautilus_torchserve.scores.classification import (
    Calibration,
    accuracy,
    calibration,
    class_scores,
    confusion_matrix,
    macro_f1,
)
from nautilus_torchserve.scores.latency import percentiles_ms


def summarize(data: ReportData) -> dict[str, Any]:
    """Compute the key figures.

    Returns
    -------
    dict
        ``currency``, ``pnl``, ``return_pct``, ``max_drawdown`` (currency, <= 0, over all events),
        ``max_drawdown_pct`` (<= 0), ``ruined_ns`` (when the equity fell to zero or below, Unix ns, or None),
        ``orders``, ``fills``, ``predictions``, ``answered`` (with finite probabilities), ``confident`` (BUY or SELL at
        ``min_probability`` or more), ``known_outcomes``, ``accuracy``, ``majority_share`` (accuracy of always
        predicting the majority class), ``macro_f1``, ``ece``, ``latency_ms`` (measured) and ``arrival_ms`` (simulated
        time from event to arrival), both as ``{"p50", "p95", "p99"}``. A number that cannot be computed is None.
    """
    matrix, reliability = outcome_matrix(data), outcome_calibration(data)
    known = int(matrix.sum())
    predictions = data.predictions
    return {
        "currency": data.currency,
        **account_figures(data.account),
        "ruined_ns": data.ruined_ns,
        "orders": data.orders,
        "fills": len(data.fills),
        "predictions": len(predictions),
        "answered": int(answered(data).sum()),
        "confident": sum(len(confident(data, name)) for name in ("buy", "sell")),
        "known_outcomes": known,
        "accuracy": _number(accuracy(matrix)),
        "majority_share": float(matrix.sum(axis=1).max() / known) if known else None,
        "macro_f1": _number(macro_f1(matrix)),
        "ece": _number(reliability.ece),
        "latency_ms": _numbers(percentiles_ms(predictions["latency_ns"].to_numpy(dtype=np.float64))),
        "arrival_ms": _numbers(
            percentiles_ms((predictions["ts_init"] - predictions["ts_event"]).to_numpy(dtype=np.float64))
        ),
    }


def tables(data: ReportData) -> dict[str, Any]:
    """Return everything else that the page shows as a table, in plain JSON types."""
    matrix, reliability = outcome_matrix(data), outcome_calibration(data)
    return {
        "confusion_matrix": {"classes": list(data.class_names), "actual_by_predicted": matrix.tolist()},
        "classes": {
            row["class"]: {"outcomes": row["support"], **{key: row[key] for key in ("precision", "recall", "f1")}}
            for row in class_scores(matrix).rows(data.class_names)
        },
        "calibration": reliability.rows("accuracy"),
        "statistics": {
            group: {name: _number(value) if isinstance(value, float) else value for name, value in values.items()}
            for group, values in data.statistics.items()
        },
        "statistics_basis": dict(data.statistics_basis),
        "data": dict(data.data),
        "model": dict(data.model),
        "settings": dict(data.settings),
        "notes": list(data.notes),
    }


def outcome_matrix(data: ReportData) -> NDArray[np.int64]:
    """Return the confusion matrix [actual, predicted] over the predictions whose outcome is known."""
    known = _known(data)
    predicted = np.argmax(probabilities(data)[known], axis=1)
    return confusion_matrix(data.actual[known], predicted, len(data.class_names))


def outcome_calibration(data: ReportData) -> Calibration:
    """Return the reliability over the predictions whose outcome is known."""
    known = _known(data)
    rows = probabilities(data)[known]
    return calibration(rows.max(axis=1, initial=0.0), np.argmax(rows, axis=1) == data.actual[known])


def confident(data: ReportData, class_name: str) -> NDArray[np.int64]:
    """Return the indices of the predictions of `class_name` (in any case) with ``min_probability`` or more."""
    names = [name.lower() for name in data.class_names]
    if class_name not in names:
        return np.empty(0, dtype=np.int64)
    rows, column = probabilities(data), names.index(class_name)
    return np.flatnonzero(
        answered(data) & (np.argmax(rows, axis=1) == column) & (rows[:, column] >= data.min_probability)
    )


def _known(data: ReportData) -> NDArray[np.bool_]:
    return (data.actual != UNKNOWN) & answered(data)


def account_figures(account: AccountHistory | None) -> dict[str, float | None]:
    """Return ``pnl``, ``return_pct``, ``max_drawdown`` and ``max_drawdown_pct`` of an account, over all events."""
    if account is None:
        return dict.fromkeys(("pnl", "return_pct", "max_drawdown", "max_drawdown_pct"))
    return {
        "pnl": account.pnl,
        "return_pct": 100 * account.pnl / account.start,
        "max_drawdown": account.max_drawdown,
        "max_drawdown_pct": _number(100 * account.max_drawdown_share),
    }


def _number(value: float | NDArray[np.float64]) -> float | None:
    return float(value) if np.isfinite(value) else None


def _numbers(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}
