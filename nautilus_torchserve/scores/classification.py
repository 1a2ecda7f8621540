"""Scores of a classifier's predictions and probabilities, as scikit-learn defines them.

Tables are confusion matrices [..., actual, predicted]: leading axes are resamples, or there are none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS = 15
"""Bins of a reliability diagram, as many as Guo et al. 2017 use for the expected calibration error."""
_LEAST = 1e-12
"""Lower bound of probabilities before their logarithm is taken."""


def confusion_matrix(actual: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Return the counts [actual, predicted] of `classes` classes."""
    cells = actual.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Per class [..., k]; NaN where a ratio's denominator is zero."""

    support: NDArray[np.int64]
    """Number of outcomes of the class."""
    precision: NDArray[np.float64]
    """Share of the class's predictions that are correct."""
    recall: NDArray[np.float64]
    """Share of the class's outcomes that were predicted."""
    f1: NDArray[np.float64]
    """2*tp / (2*tp + fp + fn); NaN for a class neither seen nor predicted."""

    def rows(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the scores of one table by class, in plain JSON types; None for NaN."""
        scores = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return [
            {
                "class": name,
                "support": int(self.support[at]),
                **{key: float(values[at]) if np.isfinite(values[at]) else None for key, values in scores.items()},
            }
            for at, name in enumerate(names)
        ]


def class_scores(tables: NDArray[np.int64]) -> ClassScores:
    """Return precision, recall and F1 of each class."""
    right = np.diagonal(tables, axis1=-2, axis2=-1).astype(np.float64)
    seen, predicted = tables.sum(axis=-1), tables.sum(axis=-2)
    return ClassScores(seen, ratio(right, predicted), ratio(right, seen), ratio(2 * right, seen + predicted))


def macro_f1(tables: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean F1 over the classes that were seen or predicted [...]; NaN without any."""
    f1 = class_scores(tables).f1
    known = np.isfinite(f1)
    return ratio(np.where(known, f1, 0.0).sum(axis=-1), known.sum(axis=-1))


def accuracy(tables: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of outcomes that were predicted [...]; NaN without any."""
    return ratio(np.trace(tables, axis1=-2, axis2=-1), tables.sum(axis=(-2, -1)))


def label_scores(actual: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> dict[str, float]:
    """Return ``accuracy`` and ``macro_f1`` of predicted classes [n]."""
    table = confusion_matrix(actual, predicted, classes)
    return {"accuracy": float(accuracy(table)), "macro_f1": float(macro_f1(table))}


@dataclass(frozen=True, eq=False)
class Calibration:
    """A reliability diagram's bins [m]; NaN where a bin is empty."""

    edges: NDArray[np.float64]
    """Limits of the bins [m + 1]; bin i holds edges[i] < confidence <= edges[i+1], the first its lower limit too."""
    counts: NDArray[np.int64]
    """Predictions in each bin."""
    confidence: NDArray[np.float64]
    """Their mean probability of the predicted class."""
    accuracy: NDArray[np.float64]
    """Share of correct predictions."""
    ece: float
    """Expected calibration error; NaN without predictions."""

    def rows(self, right: str = "right") -> list[dict[str, float | int]]:
        """Return the non-empty bins in plain JSON types; ``right`` names the share of correct predictions."""
        return [
            {
                "above": float(self.edges[index]),
                "to": float(self.edges[index + 1]),
                "count": int(self.counts[index]),
                "confidence": float(self.confidence[index]),
                right: float(self.accuracy[index]),
            }
            for index in np.flatnonzero(self.counts)
        ]


def calibration(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], edges: NDArray[np.float64] | int = CALIBRATION_BINS
) -> Calibration:
    """Return reliability and expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Parameters
    ----------
    confidence : float64 [n]
        Probability of the predicted class, in [0, 1].
    right : bool [n]
        Whether the predicted class came true.
    edges : float64 [m + 1] or int
        Limits of the bins, increasing; or how many of equal width over [0, 1].
    """
    limits = np.linspace(0.0, 1.0, edges + 1) if isinstance(edges, int) else edges
    bins = len(limits) - 1
    place = np.clip(np.searchsorted(limits, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    mean = ratio(np.bincount(place, weights=confidence, minlength=bins), counts)
    share = ratio(np.bincount(place, weights=right.astype(np.float64), minlength=bins), counts)
    gaps = counts * np.abs(share - mean)
    ece = float(np.nansum(gaps) / len(confidence)) if len(confidence) else float("nan")
    return Calibration(limits, counts, mean, share, ece)


def log_losses(probabilities: NDArray[np.float64], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the negative logarithm of the probability [n, classes] that each label [n] was given, in nats."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], _LEAST))


def logit_log_losses(logits: NDArray[np.float64], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return `log_losses` of the softmax of logits [n, classes]."""
    top = logits.max(axis=1)
    total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return total - logits[np.arange(len(labels)), labels]


def odds_log_losses(log_odds: NDArray[np.float64], happened: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return `log_losses` of two classes, from the log odds that it happens [n]."""
    return np.logaddexp(0.0, np.where(happened, -log_odds, log_odds))


def ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    """Return part / whole; NaN where whole is zero."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
