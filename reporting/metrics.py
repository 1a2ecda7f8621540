"""How good predictions were, and what an account went through."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS = 15
"""As many as Guo et al. 2017 use for the expected calibration error."""


def confusion_matrix(actual: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Counts [actual, predicted] of `classes` classes."""
    cells = actual.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Per class [k]; NaN where a ratio's denominator is zero."""

    support: NDArray[np.int64]
    """Outcomes of the class."""
    precision: NDArray[np.float64]
    """Of those predicted, the share that was right."""
    recall: NDArray[np.float64]
    """Of its outcomes, the share that was predicted."""
    f1: NDArray[np.float64]
    """2*tp / (2*tp + fp + fn); NaN for a class neither seen nor predicted."""


def class_scores(matrix: NDArray[np.int64]) -> ClassScores:
    """Precision, recall and F1 of each class from a confusion matrix."""
    right = np.diag(matrix).astype(np.float64)
    seen, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    return ClassScores(seen, _ratio(right, predicted), _ratio(right, seen), _ratio(2 * right, seen + predicted))


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Mean F1 over the classes that were seen or predicted (scikit-learn's convention); NaN without any."""
    f1 = class_scores(matrix).f1
    return float(np.nanmean(f1)) if np.isfinite(f1).any() else float("nan")


def accuracy(matrix: NDArray[np.int64]) -> float:
    """Share of outcomes that were predicted; NaN without any."""
    total = int(matrix.sum())
    return float(np.trace(matrix) / total) if total else float("nan")


@dataclass(frozen=True, eq=False)
class Calibration:
    """A reliability diagram's bins [m]; NaN where a bin is empty."""

    edges: NDArray[np.float64]
    """Limits of the bins [m + 1]; bin i holds edges[i] < confidence <= edges[i+1]."""
    counts: NDArray[np.int64]
    """Predictions in each bin."""
    confidence: NDArray[np.float64]
    """Their mean probability of the predicted class."""
    accuracy: NDArray[np.float64]
    """The share of them that was right."""
    ece: float
    """Expected calibration error; NaN without predictions."""


def calibration(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> Calibration:
    """Reliability and expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3).

    Parameters
    ----------
    confidence : float64 [n]
        Probability of the predicted class, in [0, 1].
    right : bool [n]
        Whether the predicted class came true.
    bins : int
        Bins of equal width over [0, 1].
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    mean = _ratio(np.bincount(place, weights=confidence, minlength=bins), counts)
    share = _ratio(np.bincount(place, weights=right.astype(np.float64), minlength=bins), counts)
    gaps = counts * np.abs(share - mean)
    ece = float(np.nansum(gaps) / len(confidence)) if len(confidence) else float("nan")
    return Calibration(edges, counts, mean, share, ece)


def drawdown(equity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equity less its highest value so far [n], never positive, in the account's currency."""
    return equity - np.maximum.accumulate(equity)


def drawdown_share(equity: NDArray[np.float64]) -> NDArray[np.float64]:
    """`drawdown` as a share of the highest value so far [n]; NaN where that is not positive."""
    peak = np.maximum.accumulate(equity)
    return np.where(peak > 0, (equity - peak) / np.where(peak > 0, peak, 1.0), np.nan)


def percentiles_ms(latency_ns: NDArray[np.float64], ranks: tuple[float, ...] = (50, 95, 99)) -> dict[str, float]:
    """Percentiles in milliseconds by name (``p50``), interpolated linearly; NaN without values."""
    values = latency_ns[np.isfinite(latency_ns)] / 1e6
    found = np.percentile(values, ranks) if len(values) else np.full(len(ranks), np.nan)
    return {f"p{rank:g}": float(value) for rank, value in zip(ranks, found, strict=True)}


def _ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    """part / whole; NaN where whole is zero."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
