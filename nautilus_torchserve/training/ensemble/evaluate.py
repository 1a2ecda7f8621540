"""Evaluation of an ensemble against its members, on bars that nothing was fitted on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_defs.news_pool import NewsPoolConfig
from nautilus_torchserve.scores.classification import odds_log_losses
from nautilus_torchserve.scores.verdict import is_gain, is_loss
from nautilus_torchserve.training.ensemble.dataset import NewsPart
from nautilus_torchserve.training.ensemble.fit import odds
from nautilus_torchserve.training.fit.bootstrap import CONFIDENCE, Blocks, interval

_DECIMALS = 4
"""Decimals of the gain and its interval in sentences."""


def evaluate_pool(
    part: NewsPart, answers: NDArray[np.float32], pool: NewsPoolConfig, block_rows: int, seed: int
) -> dict[str, Any]:
    """Score the pool, its members alone, and a coin, on the windows with news.

    Returns
    -------
    dict
        Plain JSON types: ``scores`` (name -> ``log_loss``, ``directional_accuracy``), ``gain`` (log loss less than that
        of the price model alone, with its interval), ``windows``, ``with_news``, ``edge`` (that in words).
    """
    member_odds = odds(part, answers, pool.half_life_s)
    forecasts = {
        "ensemble": pool.weight_price * member_odds.price + pool.weight_sentiment * member_odds.news,
        "price alone": member_odds.price,
        "news alone": pool.weight_sentiment * member_odds.news,
        "a coin": np.zeros(len(member_odds.rose)),
    }
    losses = {name: odds_log_losses(log_odds, member_odds.rose) for name, log_odds in forecasts.items()}
    gained = losses["price alone"] - losses["ensemble"]
    ends = interval(Blocks(len(gained), max(1, min(block_rows, len(gained) // 20)), seed).means(gained))
    scores = {
        name: {"log_loss": float(losses[name].mean()), "directional_accuracy": _right(log_odds, member_odds.rose)}
        for name, log_odds in forecasts.items()
    }
    gain = {"value": float(gained.mean()), "interval": ends, "confidence": CONFIDENCE}
    return {
        "scores": scores,
        "gain": gain,
        "windows": len(part),
        "with_news": len(gained),
        "edge": _in_words(scores, gain, len(gained)),
    }


def _right(log_odds: NDArray[np.float64], rose: NDArray[np.bool_]) -> float | None:
    signed = log_odds != 0
    return float(((log_odds > 0) == rose)[signed].mean()) if signed.any() else None


def _in_words(scores: dict[str, Any], gain: dict[str, Any], windows: int) -> str:
    low, high = gain["interval"]
    right, alone = (scores[name]["directional_accuracy"] for name in ("ensemble", "price alone"))
    numbers = (
        f"log loss {gain['value']:+.{_DECIMALS}f} better than the price model's alone, {CONFIDENCE:.0%} interval "
        f"{low:+.{_DECIMALS}f} to {high:+.{_DECIMALS}f}; signs right {_share(right)} against {_share(alone)}; "
        f"{windows} test windows with news"
    )
    if is_gain(gain["interval"], _DECIMALS):
        return f"The news adds to the price model's forecast ({numbers})."
    if is_loss(gain["interval"], _DECIMALS):
        return f"The news makes the price model's forecast worse ({numbers})."
    return f"No gain from the news shown ({numbers})."


def _share(value: float | None) -> str:
    return "never" if value is None else f"{value:.1%}"
