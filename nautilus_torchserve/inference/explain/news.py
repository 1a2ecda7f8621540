"""Explanations of an ensemble's log odds of a rise: bars and news, each on its own path, their parts added."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import nn

from model_defs.news_pool import NewsPoolConfig, log_odds_of_score, log_odds_up, sentiment_of
from model_defs.return_network import ReturnNetwork, predict
from model_defs.sentiment_transformer import outputs
from nautilus_torchserve.features.schema import Column
from nautilus_torchserve.inference.explain.integrate import Integral, TimeLimit
from nautilus_torchserve.inference.explain.texts import Probabilities, baseline_words, integrate_texts, text_parts
from nautilus_torchserve.inference.models.price import integrate_window, window_parts
from nautilus_torchserve.inference.text_model import TextNetwork

OUTPUT = "log_odds_up"
"""The one output that bars and news add up to: log odds that the next bar closes higher."""
FLOOR = 1e-3
"""Completeness error allowed in either part."""


@dataclass(frozen=True)
class News:
    """The news about a window's instrument."""

    texts: tuple[str, ...]
    ages_s: NDArray[np.float64]
    chunks: tuple[tuple[Encoding, ...], ...]
    """The tokens of each text."""
    truncated: tuple[bool, ...]


def explain_news_window(
    network: nn.Module,
    model: TextNetwork,
    pool: NewsPoolConfig,
    window: NDArray[np.float32],
    news: News,
    columns: Sequence[Column],
    limit: TimeLimit,
) -> dict[str, Any]:
    """Attribute the difference of the pooled log odds from those of a window without events and neutral texts.

    Parameters
    ----------
    network : ReturnNetwork
        The price model's, in float64.
    model : TextModel
        The sentiment model.

    Returns
    -------
    dict
        Plain JSON types: ``output``, the keys of `inference.explain.integrate.Integral.to_dict` of both parts together,
        ``price`` (``weight``, the same keys of the part, and those of `window_parts`) and ``news`` (``weight``, the
        same keys, ``baseline`` and ``texts``: rows of ``age_s``, ``weight``, ``attribution`` and the keys of
        `text_parts`), None without news. Attributions and values are in log odds, weights applied.
    """
    weight = pool.weight_price if news.texts else 1.0  # see `model_defs.news_pool.combine`

    def of_price(windows: torch.Tensor) -> torch.Tensor:
        return weight * log_odds_up(predict(cast(ReturnNetwork, network), windows))

    bars = integrate_window(network, window, of_price, FLOOR, limit)
    price = {"weight": weight, **bars.to_dict(), **window_parts(bars, window, columns)}
    if not news.texts:
        return {"output": OUTPUT, **bars.to_dict(), "price": price, "news": None}
    shares = _shares(news.ages_s, pool.half_life_s)

    def of_texts(probabilities: Probabilities) -> torch.Tensor:
        scores = [share * outputs(text)[:, 0] for share, text in zip(shares, probabilities, strict=True)]
        return pool.weight_sentiment * log_odds_of_score(torch.stack(scores).sum(dim=0))

    texts = integrate_texts(model, news.chunks, of_texts, FLOOR, limit)
    both = Integral(
        (*bars.attributions, *texts.attributions),
        bars.value + texts.value,
        bars.baseline_value + texts.baseline_value,
        max(bars.steps, texts.steps),
        bars.allowed + texts.allowed,
    )
    news_part = {
        "weight": pool.weight_sentiment,
        **texts.to_dict(),
        "baseline": baseline_words(model),
        "texts": _texts(model, news, shares, texts),
    }
    return {"output": OUTPUT, **both.to_dict(), "price": price, "news": news_part}


def _shares(ages_s: NDArray[np.float64], half_life_s: float) -> list[float]:
    """Return each text's weight in its window: its part of `sentiment_of`, which is linear in the scores."""
    ages, counts = torch.from_numpy(ages_s), torch.tensor([len(ages_s)])
    return [float(sentiment_of(only, ages, counts, half_life_s)) for only in torch.eye(len(ages), dtype=torch.float64)]


def _texts(model: TextNetwork, news: News, shares: list[float], integral: Integral) -> list[dict[str, Any]]:
    rows, start = [], 0
    for text, age_s, share, chunks, truncated in zip(
        news.texts, news.ages_s.tolist(), shares, news.chunks, news.truncated, strict=True
    ):
        values = integral.attributions[start : start + len(chunks)]
        start += len(chunks)
        rows.append(
            {
                "age_s": age_s,
                "weight": share,
                "attribution": float(sum(chunk.sum() for chunk in values)),
                **text_parts(model, text, chunks, truncated, values),
            }
        )
    return rows
