"""One forecast from two: what bars say about the next return, and what the news says.

Both are turned into a probability that the next bar closes higher, and the log odds added with a weight each:
a logarithmic opinion pool (Genest & Zidek 1986), whose weights are fitted on validation data, which makes it
stacking (Wolpert 1992) too. The price model's distribution is then moved to where it has the pooled
probability; its scale stays.

Several texts about one instrument count by age, half as much for every ``half_life_s``. Where there are none the
price model's forecast stands as it is.

Only functions whose float64 bits are a value's own are used: torch's exp2, sigmoid and logit come out with other last
bits for a lone value than for the same one among many.
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
"""What `combine` gives: a forecast as a price model's, then what it was made of."""
PRICE, RETURN, SIGMA, CONFIDENCE = range(4)
"""The columns of a price model's answer."""
_LEAST = 1e-6
"""Probabilities are held within _LEAST and 1 - _LEAST, so that they have log odds."""
_NO_CLAIM = 1e-12
"""A quantile far below any that a float32 probability other than 1/2 has."""


@dataclass(frozen=True)
class NewsPoolConfig:
    """What validation data decided."""

    weight_price: float
    """Of the price model's log odds where there is news; 1 otherwise."""
    weight_sentiment: float
    """Of the news' log odds."""
    half_life_s: float
    """Age at which a text counts half."""

    def __post_init__(self) -> None:
        for name in ("weight_price", "weight_sentiment"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"expected {name} of at least 0, got {getattr(self, name)}")
        if not self.half_life_s > 0:
            raise ValueError(f"expected half_life_s above 0, got {self.half_life_s}")


class NewsPool(nn.Module):
    """Nothing but its config: there is nothing here for a gradient to fit."""

    def __init__(self, config: NewsPoolConfig) -> None:
        super().__init__()
        self.config = config


def build(config: dict[str, Any]) -> NewsPool:
    """The pool that ``model.json`` describes."""
    return NewsPool(NewsPoolConfig(**config))


def sentiment_of(scores: torch.Tensor, ages_s: torch.Tensor, counts: torch.Tensor, half_life_s: float) -> torch.Tensor:
    """One score a window: the mean of its texts', each weighted by its age relative to the window's newest.

    Parameters
    ----------
    scores : float [texts]
        In [-1, 1], all windows' texts one after the other.
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
    # The newest weighs 1: of texts so old that their weights vanish one still counts.
    weights = ((newest[window] - ages) / half_life_s * math.log(2)).exp()  # (texts,)
    total = zero.index_add(0, window, weights)  # (n,), 1 or more where there is any
    weighted = zero.index_add(0, window, weights * scores.double())  # (n,)
    return torch.where(counts > 0, weighted / total.clamp_min(1.0), zero)


def log_odds_up(answer: torch.Tensor) -> torch.Tensor:
    """What a price model's answer [n, 4] says, as log odds of a higher close; float64 [n]."""
    answer = answer.double()
    up = torch.where(answer[:, RETURN] >= 0, answer[:, CONFIDENCE], 1 - answer[:, CONFIDENCE])
    return _log_odds(up)


def log_odds_of_score(score: torch.Tensor) -> torch.Tensor:
    """A score in [-1, 1] as log odds of a higher close, a neutral text being even: float64 [n]."""
    return _log_odds((1 + score.double()) / 2)


def pooled(price: torch.Tensor, news: torch.Tensor, config: NewsPoolConfig) -> torch.Tensor:
    """Log odds of both together, where there is news."""
    return config.weight_price * price + config.weight_sentiment * news


def combine(
    answer: torch.Tensor,
    scores: torch.Tensor,
    ages_s: torch.Tensor,
    counts: torch.Tensor,
    config: NewsPoolConfig,
) -> torch.Tensor:
    """The columns of `OUTPUTS`, computed in float64 and rounded once.

    ``confidence`` is the pooled probability of the sign of ``return_bps``, at least 0.5.

    Parameters
    ----------
    answer : float32 [n, 4]
        A price model's.
    scores, ages_s, counts
        As for `sentiment_of`.

    Returns
    -------
    float32 [n, 10]
    """
    given = answer.double()
    score = sentiment_of(scores, ages_s, counts, config.half_life_s)  # (n,)
    news = counts > 0  # (n,)
    price = log_odds_up(answer)  # (n,)
    moved = _moved(given, price, pooled(price, log_odds_of_score(score), config))
    forecast = torch.where(news.unsqueeze(1), moved, given)  # (n, 4)
    even = torch.ones_like(score)
    parts = [
        given[:, RETURN],
        given[:, CONFIDENCE],
        score,
        torch.where(news, config.weight_price * even, even),
        torch.where(news, config.weight_sentiment * even, 0 * even),
        counts.double(),
    ]
    return torch.cat([forecast, torch.stack(parts, dim=1)], dim=1).float()


def _moved(answer: torch.Tensor, price: torch.Tensor, odds: torch.Tensor) -> torch.Tensor:
    """The price model's forecast [n, 4], whose log odds are ``price``, where the log odds are ``odds``.

    A price model may claim more, or less, than its confidence bears out (`sharpness` in
    `model_defs.return_network.predict`). As conviction is lost its location goes to 0 with it; conviction that the
    news adds, or turns round, moves the location by quantiles of the distribution, without that exaggeration.
    """
    up = _probability(odds)
    log_return = torch.log1p(answer[:, RETURN] / 1e4)
    last = answer[:, PRICE] / (1 + answer[:, RETURN] / 1e4)
    scale = answer[:, SIGMA] / 1e4 / math.sqrt(2)  # a t with 4 degrees of freedom has variance 2 * scale**2
    before, after = quantile(_probability(price)), quantile(up)
    claimed, ahead = (torch.where(log_return < 0, -each, each) for each in (before, after))  # in its own direction
    kept = torch.where(ahead >= claimed, 1.0, (ahead / claimed.clamp_min(_NO_CLAIM)).clamp(0.0, 1.0))
    location = after * scale + kept * (log_return - before * scale)
    return torch.stack(
        [last * location.exp(), 1e4 * location.expm1(), answer[:, SIGMA], torch.maximum(up, 1 - up)], dim=1
    )


def _log_odds(probability: torch.Tensor) -> torch.Tensor:
    held = probability.clamp(_LEAST, 1 - _LEAST)
    return held.log() - (1 - held).log()


def _probability(odds: torch.Tensor) -> torch.Tensor:
    """Inverse of `_log_odds`, held as it is."""
    return (1 / (1 + (-odds).exp())).clamp(_LEAST, 1 - _LEAST)


def quantile(probability: torch.Tensor) -> torch.Tensor:
    """Inverse of `model_defs.return_network.distribution`: float64, probabilities within (0, 1).

    With s = q / sqrt(4 + q**2) the distribution is 1/2 + 3/4 s - 1/4 s**3, a cubic whose root within [-1, 1] has a
    closed form (Shaw 2006, eq. 36, says the same with another angle). It is written in 1 - s, so that nothing cancels
    at the tails.
    """
    third = 2 / 3 * torch.minimum(probability, 1 - probability).sqrt().asin()
    below_one = 2 * (third / 2).sin().square() + math.sqrt(3) * third.sin()
    tail = 2 * (1 - below_one) / (below_one * (2 - below_one)).sqrt()
    return torch.where(probability >= 0.5, tail, -tail)
