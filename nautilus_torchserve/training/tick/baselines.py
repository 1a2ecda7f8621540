"""Forecasts of the test part, and the simple rules that are the baselines of a tick model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_defs.tick_classifier import CLASSES
from nautilus_torchserve.features.tick import COLUMNS
from nautilus_torchserve.market.trades.labels import BUY, HOLD, SELL
from nautilus_torchserve.scores.classification import confusion_matrix, macro_f1
from nautilus_torchserve.training.tick.dataset import DatasetSplit, Part

RETURN = [column.name for column in COLUMNS].index("return_bps")
_QUANTILES = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True, eq=False)
class Forecast:
    """Predictions for the test rows."""

    answers: NDArray[np.int64]
    """Predicted class [n]."""
    probabilities: NDArray[np.float64]
    """Probability of each class [n, classes]."""

    @classmethod
    def of_probabilities(
        cls, labels: NDArray[np.int64], train: NDArray[np.floating], test: NDArray[np.floating]
    ) -> "Forecast":
        """Predict as a strategy does: the likelier of BUY and SELL where it reaches a threshold, else HOLD.

        The threshold is the one of the best macro-F1 on the training part, for all models
        alike. The most probable class would be HOLD nearly everywhere, as it is the most frequent.

        Parameters
        ----------
        labels : int64 [n_train]
            Labels of the training part.
        train, test : float [n, classes]
            Probabilities for the two parts' rows.
        """
        thresholds = np.unique(np.quantile(_trade_probability(train), _QUANTILES))
        threshold = max(thresholds, key=lambda at: macro_f1(confusion_matrix(labels, _decide(train, at), len(CLASSES))))
        return cls(_decide(test, threshold), test.astype(np.float64))


def majority(split: DatasetSplit) -> Forecast:
    """Predict the most frequent class of the training part, with the classes' frequencies, for every row."""
    frequencies = np.bincount(split.train.labels, minlength=len(CLASSES)) / len(split.train)
    answers = np.full(len(split.test), frequencies.argmax())
    return Forecast(answers, np.tile(frequencies, (len(split.test), 1)))


def momentum(split: DatasetSplit) -> Forecast:
    """Follow the window's return, or go against it, where it is beyond a threshold.

    Direction and threshold are those of the best macro-F1 on the training part; the
    probabilities are how often each class followed the rule's three predictions there.
    """
    labels = split.train.labels
    thresholds = np.quantile(np.abs(split.train.rows[:, RETURN]), _QUANTILES)
    rules = [(direction, threshold) for direction in (1, -1) for threshold in thresholds]
    best = max(rules, key=lambda rule: macro_f1(confusion_matrix(labels, _follow(split.train, *rule), len(CLASSES))))
    # One more each, so that none is impossible.
    seen = 1 + confusion_matrix(_follow(split.train, *best), labels, len(CLASSES))
    answers = _follow(split.test, *best)
    return Forecast(answers, (seen / seen.sum(axis=1, keepdims=True))[answers])


def logistic(split: DatasetSplit) -> Forecast:
    """Predict by multinomial logistic regression on the same rows, standardised."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    rows = [part.rows.astype(np.float64) for part in (split.train, split.test)]
    model.fit(rows[0], split.train.labels)
    train, test = (model.predict_proba(of_part) for of_part in rows)
    return Forecast.of_probabilities(split.train.labels, train, test)


BASELINES = {"majority class": majority, "momentum rule": momentum, "logistic regression": logistic}


def _trade_probability(probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.maximum(probabilities[:, BUY], probabilities[:, SELL])


def _decide(probabilities: NDArray[np.floating], threshold: float) -> NDArray[np.int64]:
    side = np.where(probabilities[:, BUY] >= probabilities[:, SELL], BUY, SELL)
    return np.where(_trade_probability(probabilities) >= threshold, side, HOLD)


def _follow(part: Part, direction: int, threshold: float) -> NDArray[np.int64]:
    signal = direction * part.rows[:, RETURN]
    return np.select([signal > threshold, signal < -threshold], [BUY, SELL], HOLD)
