"""The weights of a price model's and the news' log odds, and how quickly news grows old."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from model_defs.news_pool import NewsPoolConfig, log_odds_of_score, log_odds_up, sentiment_of
from nautilus_torchserve.scores.classification import odds_log_losses
from nautilus_torchserve.training.ensemble.dataset import NewsPart

HALF_LIVES_BARS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Half-lives to choose from, in bars."""
_LARGEST_WEIGHT = 10.0


@dataclass(frozen=True, eq=False)
class Odds:
    """Log odds of a rise from both members, for the windows with news and a move after them."""

    price: NDArray[np.float64]
    news: NDArray[np.float64]
    rose: NDArray[np.bool_]
    """Whether the price rose."""
    chosen: NDArray[np.bool_]
    """Mask of these windows in the part."""


def odds(part: NewsPart, answers: NDArray[np.float32], half_life_s: float) -> Odds:
    """Return the log odds of the windows with news and a move after them.

    Parameters
    ----------
    answers : float32 [m, 4]
        Outputs of the price model.
    """
    chosen = (part.counts > 0) & (part.returns != 0)
    scores, ages_s, counts = map(torch.from_numpy, (part.scores, part.ages_s, part.counts))
    score = sentiment_of(scores, ages_s, counts, half_life_s)
    return Odds(
        log_odds_up(torch.from_numpy(answers)).numpy()[chosen],
        log_odds_of_score(score).numpy()[chosen],
        (part.returns > 0)[chosen],
        chosen,
    )


def fit_pool(part: NewsPart, answers: NDArray[np.float32], interval_ns: int) -> NewsPoolConfig:
    """Fit weights and half-life by maximum likelihood.

    For each half-life of `HALF_LIVES_BARS` a logistic regression of the next move's sign on both log odds, without
    intercept and with weights of at least 0: neither member may count against its own forecast.
    """
    fits = []
    for bars in HALF_LIVES_BARS:
        half_life_s = bars * interval_ns / 1e9
        log_odds = odds(part, answers, half_life_s)
        weights = _weights(log_odds)
        fits.append(
            (log_loss(weights[0] * log_odds.price + weights[1] * log_odds.news, log_odds.rose), *weights, half_life_s)
        )
    _, weight_price, weight_sentiment, half_life_s = min(fits)
    return NewsPoolConfig(weight_price, weight_sentiment, half_life_s)


def log_loss(log_odds: NDArray[np.float64], rose: NDArray[np.bool_]) -> float:
    """Return the mean negative log-likelihood of the moves."""
    return float(odds_log_losses(log_odds, rose).mean())


def _weights(log_odds: Odds) -> tuple[float, float]:
    columns = np.stack([log_odds.price, log_odds.news], axis=1)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total = columns @ weights
        return log_loss(total, log_odds.rose), columns.T @ (expit(total) - log_odds.rose) / len(total)

    optimum = minimize(loss, np.array([1.0, 0.1]), jac=True, method="L-BFGS-B", bounds=[(0.0, _LARGEST_WEIGHT)] * 2)
    weight_price, weight_sentiment = optimum.x.tolist()
    return weight_price, weight_sentiment
