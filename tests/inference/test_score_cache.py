"""Remembered scores: the same bits, and no text computed twice while it is remembered."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.inference.models.ensemble import MAX_LENGTH, ScoreCache
from nautilus_torchserve.inference.text_model import TextNetwork, Tokens

TEXTS = ["Profit rose", "The bank warns of a loss", "record order", "weak sales today", "strong outlook " * 90]


class Counting:
    """A model that counts the texts it computed."""

    def __init__(self, model: TextNetwork) -> None:
        self.model = model
        self.computed = 0

    def compute(self, tokens: Tokens) -> np.ndarray:
        self.computed += len(tokens.chunks)
        return self.model.compute(tokens)


@pytest.fixture(scope="module")
def model(news_runs: dict[str, Path]) -> TextNetwork:
    torch.set_num_threads(1)
    return TextNetwork(news_runs["sentiment"], torch.device("cpu"))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.sampled_from(TEXTS), max_size=6), max_size=8), st.integers(1, 5))
def test_scores_have_the_bits_of_a_model_without_memory(
    model: TextNetwork, batches: list[list[str]], size: int
) -> None:
    cache = ScoreCache(model, size)

    for texts in batches:
        if texts:
            tokens = model.read(texts)
            assert cache.scores(texts, tokens).tobytes() == model.compute(tokens)[:, 0].tobytes()


def test_a_text_is_computed_once_while_it_is_remembered(model: TextNetwork) -> None:
    counting = Counting(model)
    cache = ScoreCache(counting, size=2)  # type: ignore[arg-type]

    def computed(*texts: str) -> int:
        before = counting.computed
        cache.scores(texts, model.read(texts))
        return counting.computed - before

    one, other, third, _, long = TEXTS
    assert computed(one, other, one) == 2
    assert computed(other, one) == 0
    assert computed(third) == 1  # which takes the place of the least recently used
    assert computed(one) == 0
    assert computed(other) == 1
    assert len(long) > MAX_LENGTH
    assert [computed(long), computed(long)] == [1, 1]
