"""Evaluation of a price model against simple forecasts, on bars that nothing was fitted on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student_t

from model_defs.return_network import DEGREES_OF_FREEDOM, distribution
from nautilus_torchserve.scores.classification import calibration
from nautilus_torchserve.training.fit.bootstrap import CONFIDENCE, RESAMPLES, Blocks, interval, is_gain, is_loss

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Levels of the central intervals whose coverage is measured."""
SIGN_BINS = 10
"""Equally full bins of the sign's probability."""
A_COIN = "a coin"
_PER_BPS = 1e4
_BPS_DECIMALS, _SHARE_DECIMALS = 3, 3
"""Decimals of gains and their intervals in sentences: 0.001 bps, 0.1 %."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """Forecasts and returns of the test windows of one or several folds."""

    returns: NDArray[np.float64]
    """Actual log returns [m]."""
    location: NDArray[np.float64]
    """The model's median [m]."""
    scale: NDArray[np.float64]
    """The model's scale [m]."""
    sharpness: NDArray[np.float64]
    """The model's calibration [m], one value a fold."""
    baselines: dict[str, NDArray[np.float64]]
    """Name -> forecast returns [m]."""
    constant_log_likelihood: NDArray[np.float64]
    """Log-likelihood of one distribution for all bars [m]."""

    @property
    def points(self) -> dict[str, NDArray[np.float64]]:
        """Forecast returns by name, the model's first."""
        return {"model": self.location, **self.baselines}

    @classmethod
    def concat(cls, folds: list["Forecast"]) -> "Forecast":
        """Concatenate the forecasts of several folds."""
        arrays = ("returns", "location", "scale", "sharpness", "constant_log_likelihood")
        joined = {name: np.concatenate([getattr(fold, name) for fold in folds]) for name in arrays}
        baselines = {name: np.concatenate([fold.baselines[name] for fold in folds]) for name in folds[0].baselines}
        return cls(**joined, baselines=baselines)


def evaluate(forecast: Forecast, block_rows: int, seed: int) -> dict[str, Any]:
    """Score the model and the baselines on all test windows together.

    Returns
    -------
    dict
        Plain JSON types: ``scores``, ``gains``, ``log_likelihood``, ``calibration``, ``bootstrap``, ``beats_baselines``
        (a smaller RMSE than every baseline's and more signs right than a coin, both beyond chance), ``edge``
        (that as a sentence).
    """
    blocks = Blocks(len(forecast.returns), block_rows, seed)
    scored = scores(forecast, blocks)
    gains = {
        "rmse": _error_gain(forecast, scored, blocks, "rmse_bps"),
        "mae": _error_gain(forecast, scored, blocks, "mae_bps"),
        "direction": _direction_gain(scored["model"]),
    }
    beats = beats_baselines(gains)
    return {
        "scores": scored,
        "gains": gains,
        "log_likelihood": _log_likelihood(forecast, blocks),
        "calibration": {**sign_calibration(forecast), "scale": coverage(forecast)},
        "bootstrap": {"confidence": CONFIDENCE, "block_rows": block_rows, "resamples": RESAMPLES},
        "beats_baselines": beats,
        "edge": _edge_sentence(gains, beats),
    }


def beats_baselines(gains: dict[str, dict[str, Any]]) -> bool:
    """Return whether RMSE and signs beat every baseline beyond chance, at the printed precision."""
    right = gains["direction"]["interval"]
    return is_gain(gains["rmse"]["interval"], _BPS_DECIMALS) and right is not None and is_gain(right, _SHARE_DECIMALS)


def scores(forecast: Forecast, blocks: Blocks | None = None) -> dict[str, dict[str, Any]]:
    """Return errors and directional accuracy of each forecast, the latter's interval where blocks are given.

    Returns and forecasts of zero have no sign and are left out of the accuracy.
    """
    scored = {}
    for name, point in forecast.points.items():
        right, signed = signs(forecast.returns, point)
        ends = interval(blocks.means(right.astype(np.float64), signed)) if blocks and signed.any() else None
        scored[name] = {
            "rmse_bps": _PER_BPS * rmse(forecast.returns, point),
            "mae_bps": _PER_BPS * mae(forecast.returns, point),
            "directional_accuracy": float(right[signed].mean()) if signed.any() else None,
            "directional_interval": ends,
        }
    return scored


def sign_calibration(forecast: Forecast) -> dict[str, Any]:
    """Return the reliability of the sign's probability: equally full bins, and their mean gap (ECE)."""
    confidence, right = _signs(forecast)
    if not len(right):
        return {"sign": [], "ece": None}
    edges = np.unique(np.quantile(confidence, np.linspace(0.0, 1.0, SIGN_BINS + 1)))
    reliability = calibration(confidence, right, edges if len(edges) > 1 else np.repeat(edges, 2))
    return {"sign": reliability.rows(), "ece": reliability.ece}


def coverage(forecast: Forecast) -> list[dict[str, float]]:
    """Return the share of returns inside the model's central intervals."""
    distance = np.abs(forecast.returns - forecast.location) / forecast.scale
    return [
        {"level": level, "covered": float(np.mean(distance <= student_t.ppf((1 + level) / 2, DEGREES_OF_FREEDOM)))}
        for level in LEVELS
    ]


def _signs(forecast: Forecast) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    moved = forecast.returns != 0
    quantile = forecast.sharpness[moved] * np.abs(forecast.location[moved]) / forecast.scale[moved]
    confidence = distribution(torch.from_numpy(quantile)).numpy()
    return confidence, np.sign(forecast.location[moved]) == np.sign(forecast.returns[moved])


def _error_gain(forecast: Forecast, scored: dict[str, dict[str, Any]], blocks: Blocks, score: str) -> dict[str, Any]:
    """Return how much smaller the model's error is than the best baseline's, with its interval."""
    best = min(forecast.baselines, key=lambda name: scored[name][score])

    def resampled(name: str) -> NDArray[np.float64]:
        error = forecast.points[name] - forecast.returns
        return np.sqrt(blocks.means(error**2)) if score == "rmse_bps" else blocks.means(np.abs(error))

    return {
        "best_baseline": best,
        "gain_bps": scored[best][score] - scored["model"][score],
        "interval": [_PER_BPS * end for end in interval(resampled(best) - resampled("model"))],
    }


def _direction_gain(model: dict[str, Any]) -> dict[str, Any]:
    accuracy, ends = model["directional_accuracy"], model["directional_interval"]
    return {
        "best_baseline": A_COIN,
        "gain": None if accuracy is None else accuracy - 0.5,
        "interval": None if ends is None else [end - 0.5 for end in ends],
    }


def _log_likelihood(forecast: Forecast, blocks: Blocks) -> dict[str, Any]:
    standard = (forecast.returns - forecast.location) / forecast.scale
    model = student_t.logpdf(standard, DEGREES_OF_FREEDOM) - np.log(forecast.scale)
    gain = model - forecast.constant_log_likelihood
    return {
        "model": float(model.mean()),
        "constant": float(forecast.constant_log_likelihood.mean()),
        "gain": float(gain.mean()),
        "interval": interval(blocks.means(gain)),
    }


def _edge_sentence(gains: dict[str, dict[str, Any]], beats: bool) -> str:
    error, direction = gains["rmse"], gains["direction"]
    numbers = (
        f"RMSE {abs(error['gain_bps']):.3g} bps {'less' if error['gain_bps'] >= 0 else 'more'} than that of "
        f"{error['best_baseline']}, {CONFIDENCE:.0%} interval of the gain {error['interval'][0]:+.3g} to "
        f"{error['interval'][1]:+.3g}"
    )
    if direction["gain"] is None:
        numbers += "; the model forecasts no direction"
    else:
        numbers += (
            f"; signs right {0.5 + direction['gain']:.1%} of the time, interval "
            f"{0.5 + direction['interval'][0]:.1%} to {0.5 + direction['interval'][1]:.1%}"
        )
    if beats:
        return f"The model beats every baseline on the test bars ({numbers}). That is before the costs of trading."
    if is_loss(error["interval"], _BPS_DECIMALS):
        return f"No edge: the model is worse than a simple baseline on the test bars ({numbers})."
    return f"No edge shown: the model does not beat every baseline beyond chance on the test bars ({numbers})."


def rmse(actual: NDArray[np.float64], forecast: NDArray[np.float64]) -> float:
    """Return the root mean squared error."""
    return float(np.sqrt(np.mean((forecast - actual) ** 2)))


def mae(actual: NDArray[np.float64], forecast: NDArray[np.float64]) -> float:
    """Return the mean absolute error."""
    return float(np.mean(np.abs(forecast - actual)))


def signs(actual: NDArray[np.float64], forecast: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which forecasts [n] have the right sign, and which count: neither number is zero."""
    return np.sign(forecast) == np.sign(actual), (actual != 0) & (forecast != 0)
