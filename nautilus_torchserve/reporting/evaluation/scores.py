"""A price model's scores beside its baselines', as `evaluation_page` is given them."""

from collections.abc import Mapping
from typing import Any

MODEL = "model"
"""Its key among the scores; all others are baselines."""
LESS_IS_BETTER = ("rmse_bps", "mae_bps")

Scores = Mapping[str, Mapping[str, Any]]


def best(scores: Scores, key: str, among_baselines: bool = False) -> list[str]:
    """Who has the best score `key`; several when they are equal, none when nobody has one."""
    values = {
        name: score[key]
        for name, score in scores.items()
        if score[key] is not None and not (among_baselines and name == MODEL)
    }
    if not values:
        return []
    first = min(values.values()) if key in LESS_IS_BETTER else max(values.values())
    return [name for name, value in values.items() if value == first]


def error_gain(scores: Scores, key: str) -> tuple[str, float] | None:
    """The best baseline and by how much the model's error `key` is less than its; None where one has no score."""
    names = best(scores, key, among_baselines=True)
    if not names or scores[MODEL][key] is None:
        return None
    return names[0], scores[names[0]][key] - scores[MODEL][key]
