"""Sentences as the network sees them: tokens, in batches of about equal length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from nautilus_torchserve.training.sentiment.news_corpus import CLASSES, Sentence

_POOL = 16
"""Batches whose sentences are sorted by length together."""


@dataclass(frozen=True, eq=False)
class TokenizedPart:
    """Sentences as tokens, with their labels."""

    tokens: tuple[NDArray[np.int64], ...]
    """Of each sentence, the marks at both ends included."""
    labels: NDArray[np.int64]
    """Places in `CLASSES` [n]."""
    cut: int
    """Sentences that were longer than the network reads."""

    def __len__(self) -> int:
        return len(self.tokens)


def tokenize(tokenizer: Tokenizer, sentences: Sequence[Sentence], longest: int) -> TokenizedPart:
    """Turn sentences into at most ``longest`` tokens each; changes how the tokenizer fills up and cuts."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    encoded = tokenizer.encode_batch([each.text for each in sentences])
    return TokenizedPart(
        tuple(np.array(each.ids, np.int64) for each in encoded),
        np.array([CLASSES.index(each.label) for each in sentences], np.int64),
        sum(bool(each.overflowing) for each in encoded),
    )


def shuffled_batches(part: TokenizedPart, size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Every sentence's place once, in batches of neighbours in length: most of a mixed batch would be padding.

    Sentences are shuffled, sorted by length within pools of some batches, and the batches shuffled.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(part))
    found = []
    for at in range(0, len(order), size * _POOL):
        pool = np.array(sorted(order[at : at + size * _POOL], key=lambda place: len(part.tokens[place])))
        found += [pool[begin : begin + size] for begin in range(0, len(pool), size)]
    return [found[place] for place in random.permutation(len(found))]


def sorted_batches(part: TokenizedPart, size: int) -> list[NDArray[np.int64]]:
    """Every sentence's place once, the short ones first: for passes whose order does not matter."""
    order = np.argsort([len(each) for each in part.tokens], kind="stable")
    return [order[at : at + size] for at in range(0, len(order), size)]


def padded(part: TokenizedPart, places: NDArray[np.int64], padding: int) -> torch.Tensor:
    """A batch, int64 [batch, tokens], filled up to its longest sentence."""
    longest = max(len(part.tokens[place]) for place in places)
    rows = np.full((len(places), longest), padding, np.int64)
    for row, place in zip(rows, places, strict=True):
        row[: len(part.tokens[place])] = part.tokens[place]
    return torch.from_numpy(rows)
