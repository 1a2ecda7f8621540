"""Evaluation of a tick model against simple rules, on trades that nothing was fitted on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_defs.tick_classifier import CLASSES
from nautilus_torchserve.features.tick import COLUMNS, WINDOW
from nautilus_torchserve.market.trades.labels import BUY, HOLD, SELL
from nautilus_torchserve.scores.classification import confusion_matrix, label_scores, log_losses, macro_f1
from nautilus_torchserve.training.fit.bootstrap import CONFIDENCE, RESAMPLES, Blocks, interval, is_gain, is_loss
from nautilus_torchserve.training.tick.dataset import DatasetSplit, Part

RETURN = [column.name for column in COLUMNS].index("return_bps")
_QUANTILES = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True, eq=False)
class Forecast:
    """Predictions for the test rows."""

    predicted: NDArray[np.int64]
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
    predicted = np.full(len(split.test), frequencies.argmax())
    return Forecast(predicted, np.tile(frequencies, (len(split.test), 1)))


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
    predicted = _follow(split.test, *best)
    return Forecast(predicted, (seen / seen.sum(axis=1, keepdims=True))[predicted])


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


_DECIMALS = 3
"""Decimals of gains and their intervals in sentences."""


def evaluate(split: DatasetSplit, train: NDArray[np.float32], test: NDArray[np.float32], seed: int) -> dict[str, Any]:
    """Score a network on the test part and compare it with the best baseline of each score.

    Neighbouring rows share trades, so the intervals of the gains come from resampling blocks
    of twice the span that a row and its label cover (Carlstein 1986).

    Parameters
    ----------
    train, test : float32 [n, classes]
        The network's probabilities for the rows of the two parts.
    seed : int
        Seed of the resampling.

    Returns
    -------
    dict
        Plain JSON types: ``model`` and ``baselines`` with macro_f1, accuracy and log_loss,
        ``classes`` (share of each in the test part), ``trade_probability`` (percentiles over
        test rows of the greater of P(buy), P(sell)), ``gains`` over the best baseline in
        macro-F1 and log loss (positive is better), ``beats_baselines`` (both beyond chance)
        and ``edge`` (that as a sentence).
    """
    labels = split.test.labels
    model = Forecast.of_probabilities(split.train.labels, train, test)
    baselines = {name: rule(split) for name, rule in BASELINES.items()}
    scores = {name: _scores(labels, forecast) for name, forecast in baselines.items()}
    model_scores = _scores(labels, model)
    best_f1 = max(scores, key=lambda name: scores[name]["macro_f1"])
    best_loss = min(scores, key=lambda name: scores[name]["log_loss"])
    blocks = Blocks(len(labels), 2 * (WINDOW + split.horizon), seed)
    gains: dict[str, dict[str, Any]] = {
        "macro_f1": {
            "best_baseline": best_f1,
            "gain": model_scores["macro_f1"] - scores[best_f1]["macro_f1"],
            "interval": _macro_f1_gain(blocks, labels, model, baselines[best_f1]),
        },
        "log_loss": {
            "best_baseline": best_loss,
            "gain": scores[best_loss]["log_loss"] - model_scores["log_loss"],
            "interval": interval(blocks.means(_losses(labels, baselines[best_loss]) - _losses(labels, model))),
        },
    }
    trade_probability = np.delete(test, HOLD, axis=1).max(axis=1)
    return {
        "model": model_scores,
        "baselines": scores,
        "classes": dict(zip(CLASSES, (np.bincount(labels, minlength=3) / len(labels)).tolist(), strict=True)),
        "trade_probability": {f"p{at}": float(np.percentile(trade_probability, at)) for at in (50, 90, 99)},
        "gains": gains,
        "bootstrap": {"confidence": CONFIDENCE, "block_rows": blocks.length, "resamples": RESAMPLES},
        "beats_baselines": _beats(gains),
        "edge": _edge_sentence(gains),
    }


def _macro_f1_gain(blocks: Blocks, labels: NDArray[np.int64], model: Forecast, baseline: Forecast) -> list[float]:
    """Return the interval of macro-F1 of model less baseline, both on the same blocks."""

    def resampled(predicted: NDArray[np.int64]) -> NDArray[np.float64]:
        ends = blocks.starts + blocks.length
        size = len(CLASSES)
        tables = [
            confusion_matrix(labels[at:end], predicted[at:end], size)
            for at, end in zip(blocks.starts, ends, strict=True)
        ]
        return macro_f1(np.tensordot(blocks.times, np.array(tables), axes=1))  # of (resamples, 3, 3)

    return interval(resampled(model.predicted) - resampled(baseline.predicted))


def _losses(labels: NDArray[np.int64], forecast: Forecast) -> NDArray[np.float64]:
    return log_losses(forecast.probabilities, labels)


def _scores(labels: NDArray[np.int64], forecast: Forecast) -> dict[str, float]:
    log_loss = float(_losses(labels, forecast).mean())
    return {**label_scores(labels, forecast.predicted, len(CLASSES)), "log_loss": log_loss}


def _beats(gains: dict[str, dict[str, Any]]) -> bool:
    return all(is_gain(gain["interval"], _DECIMALS) for gain in gains.values())


def _edge_sentence(gains: dict[str, dict[str, Any]]) -> str:
    numbers = "; ".join(
        f"{name.replace('_', ' ')} gain over {gain['best_baseline']} {gain['gain']:+.{_DECIMALS}f}, "
        f"{CONFIDENCE:.0%} interval {gain['interval'][0]:+.{_DECIMALS}f} to {gain['interval'][1]:+.{_DECIMALS}f}"
        for name, gain in gains.items()
    )
    if _beats(gains):
        return f"The model beats every baseline on the test part ({numbers}). That is before the costs of trading."
    if any(is_loss(gain["interval"], _DECIMALS) for gain in gains.values()):
        return f"No edge: the model is worse than a simple baseline on the test part ({numbers})."
    return f"No edge shown: the model does not beat every baseline beyond chance on the test part ({numbers})."
