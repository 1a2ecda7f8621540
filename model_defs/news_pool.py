"""Logarithmic opinion pool of two forecasts of the next return: from bars, and from news.

Both become a probability that the next bar closes higher, and their log odds are added with a weight each (Genest &
Zidek 1986); the weights are fitted on validation data, which makes it stacking (Wolpert 1992) too. The price model's
distribution is then shifted to the pooled probability; its scale stays.

Several texts about one instrument are weighted by age, half as much for every ``half_life_s``. Without texts the
price model's forecast is unchanged.

Only functions whose float64 bits do not depend on the number of values are used: torch's exp2, sigmoid and logit
have other last bits for a single value than for the same one among many.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

OUTPUTS = (
    *("price", "return_bps", "sigma_bps", "confidence"),
    *("price_return_bps", "price_confidence", "sentiment_score", "weight_price", "weight_sentiment", "texts"),
)
"""Columns of `combine`: a forecast as a price model's, then its parts."""
PRICE, RETURN, SIGMA, CONFIDENCE = range(4)
"""Columns of a price model's outputs."""
_LEAST = 1e-6
"""Probabilities are clamped to _LEAST and 1 - _LEAST, so that they have log odds."""
_NO_CLAIM = 1e-12
"""A quantile far below that of any float32 probability other than 1/2."""


@dataclass(frozen=True)
class NewsPoolConfig:
    """Configuration of a `NewsPool`, fitted on validation data."""

    weight_price: float
    """Weight of the price model's log odds where there is news; 1 otherwise."""
    weight_sentiment: float
    """Weight of the news' log odds."""
    half_life_s: float
    """Age at which a text has half its weight (seconds)."""

    def __post_init__(self) -> None:
        for name in ("weight_price", "weight_sentiment"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"expected {name} of at least 0, got {getattr(self, name)}")
        if not self.half_life_s > 0:
            raise ValueError(f"expected half_life_s above 0, got {self.half_life_s}")


class NewsPool(nn.Module):
    """A module without parameters: its config is fitted without gradients."""

    def __init__(self, config: NewsPoolConfig) -> None:
        super().__init__()
        self.config = config


def build(config: dict[str, Any]) -> NewsPool:
    """Build the pool from ``model.json``'s ``network.config``."""
    return NewsPool(NewsPoolConfig(**config))


def sentiment_of(scores: torch.Tensor, ages_s: torch.Tensor, counts: torch.Tensor, half_life_s: float) -> torch.Tensor:
    """Return one score a window: the mean of its texts', each weighted by its age relative to the window's newest.

    Parameters
    ----------
    scores : float [texts]
        In [-1, 1], of all windows' texts, window after window.
    ages_s : float [texts]
        Seconds since each was received.
    counts : int64 [n]
        Texts of each window.
    half_life_s : float

    Returns
    -------
    float64 [n]
        0 where a window has no texts.
    """
    ages = ages_s.double()  # (texts,)
    window = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    zero = torch.zeros(len(counts), dtype=torch.float64, device=counts.device)
    newest = zero.scatter_reduce(0, window, ages, "amin", include_self=False)  # (n,)
    # The newest weighs 1, so that a window of texts so old that their weights vanish has a score too.
    weights = ((newest[window] - ages) / half_life_s * math.log(2)).exp()  # (texts,)
    total = zero.index_add(0, window, weights)  # (n,), 1 or more where there is any
    weighted = zero.index_add(0, window, weights * scores.double())  # (n,)
    return torch.where(counts > 0, weighted / total.clamp_min(1.0), zero)


def log_odds_up(answer: torch.Tensor) -> torch.Tensor:
    """Return a price model's outputs [n, 4] as log odds of a higher close; float64 [n]."""
    answer = answer.double()
    up = torch.where(answer[:, RETURN] >= 0, answer[:, CONFIDENCE], 1 - answer[:, CONFIDENCE])
    return _log_odds(up)


def log_odds_of_score(score: torch.Tensor) -> torch.Tensor:
    """Return a score in [-1, 1] as log odds of a higher close, 0 for a neutral text; float64 [n]."""
    return _log_odds((1 + score.double()) / 2)


def pooled(price: torch.Tensor, news: torch.Tensor, config: NewsPoolConfig) -> torch.Tensor:
    """Return the log odds of both together, where there is news."""
    return config.weight_price * price + config.weight_sentiment * news


def combine(
    answer: torch.Tensor,
    scores: torch.Tensor,
    ages_s: torch.Tensor,
    counts: torch.Tensor,
    config: NewsPoolConfig,
) -> torch.Tensor:
    """Compute the columns of `OUTPUTS`, in float64 and rounded once.

    ``confidence`` is the pooled probability of the sign of ``return_bps``, at least 0.5.

    Parameters
    ----------
    answer : float32 [n, 4]
        Outputs of a price model.
    scores, ages_s, counts
        As for `sentiment_of`.

    Returns
    -------
    float32 [n, 10]
    """
    forecast = answer.double()
    score = sentiment_of(scores, ages_s, counts, config.half_life_s)  # (n,)
    news = counts > 0  # (n,)
    price = log_odds_up(answer)  # (n,)
    shifted = _shifted(forecast, price, pooled(price, log_odds_of_score(score), config))
    pooled_forecast = torch.where(news.unsqueeze(1), shifted, forecast)  # (n, 4)
    even = torch.ones_like(score)
    parts = [
        forecast[:, RETURN],
        forecast[:, CONFIDENCE],
        score,
        torch.where(news, config.weight_price * even, even),
        torch.where(news, config.weight_sentiment * even, 0 * even),
        counts.double(),
    ]
    return torch.cat([pooled_forecast, torch.stack(parts, dim=1)], dim=1).float()


def _shifted(answer: torch.Tensor, price: torch.Tensor, odds: torch.Tensor) -> torch.Tensor:
    """Shift the price model's forecast [n, 4], whose log odds are ``price``, to the log odds ``odds``.

    The location of a price model may be larger, or smaller, than its confidence implies (`sharpness` in
    `model_defs.return_network.predict`). As the confidence falls the location goes to 0 with it; confidence that the
    news add, or reverse, shifts the location by quantiles of the distribution, without that exaggeration.
    """
    up = _probability(odds)
    log_return = torch.log1p(answer[:, RETURN] / 1e4)
    last = answer[:, PRICE] / (1 + answer[:, RETURN] / 1e4)
    scale = answer[:, SIGMA] / 1e4 / math.sqrt(2)  # a t with 4 degrees of freedom has variance 2 * scale**2
    before, after = quantile(_probability(price)), quantile(up)
    claimed, ahead = (torch.where(log_return < 0, -value, value) for value in (before, after))  # in its own direction
    kept = torch.where(ahead >= claimed, 1.0, (ahead / claimed.clamp_min(_NO_CLAIM)).clamp(0.0, 1.0))
    location = after * scale + kept * (log_return - before * scale)
    return torch.stack(
        [last * location.exp(), 1e4 * location.expm1(), answer[:, SIGMA], torch.maximum(up, 1 - up)], dim=1
    )


def _log_odds(probability: torch.Tensor) -> torch.Tensor:
    clamped = probability.clamp(_LEAST, 1 - _LEAST)
    return clamped.log() - (1 - clamped).log()


def _probability(odds: torch.Tensor) -> torch.Tensor:
    """Return the inverse of `_log_odds`, clamped alike."""
    return (1 / (1 + (-odds).exp())).clamp(_LEAST, 1 - _LEAST)


def quantile(probability: torch.Tensor) -> torch.Tensor:
    """Return the inverse of `model_defs.return_network.distribution`: float64, for probabilities within (0, 1).

    With s = q / sqrt(4 + q**2) the distribution is 1/2 + 3/4 s - 1/4 s**3, a cubic whose root within [-1, 1] has a
    closed form (Shaw 2006, eq. 36, with another angle). It is written in 1 - s, so that nothing cancels at the tails.
    """
    third = 2 / 3 * torch.minimum(probability, 1 - probability).sqrt().asin()
    below_one = 2 * (third / 2).sin().square() + math.sqrt(3) * third.sin()
    tail = 2 * (1 - below_one) / (below_one * (2 - below_one)).sqrt()
    return torch.where(probability >= 0.5, tail, -tail)
