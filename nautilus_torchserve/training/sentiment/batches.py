"""Tokenized sentences, in batches of similar length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from nautilus_torchserve.training.sentiment.news_corpus import CLASSES, Sentence

_POOL = 16
"""Number of batches whose sentences are sorted by length as one pool."""


@dataclass(frozen=True, eq=False)
class TokenizedPart:
    """Sentences as tokens, with their labels."""

    tokens: tuple[NDArray[np.int64], ...]
    """Tokens of each sentence, with the special tokens at both ends."""
    labels: NDArray[np.int64]
    """Places in `CLASSES` [n]."""
    cut: int
    """Sentences that were longer than the network reads."""

    def __len__(self) -> int:
        return len(self.tokens)


def tokenize(tokenizer: Tokenizer, sentences: Sequence[Sentence], longest: int) -> TokenizedPart:
    """Tokenize sentences to at most ``longest`` tokens each; sets the tokenizer's padding and truncation."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    encoded = tokenizer.encode_batch([sentence.text for sentence in sentences])
    return TokenizedPart(
        tuple(np.array(encoding.ids, np.int64) for encoding in encoded),
        np.array([CLASSES.index(sentence.label) for sentence in sentences], np.int64),
        sum(bool(encoding.overflowing) for encoding in encoded),
    )


def shuffled_batches(part: TokenizedPart, size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return every sentence's place once, in batches of similar length: most of a mixed batch would be padding.

    Sentences are shuffled, sorted by length within pools of some batches, and the batches shuffled.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(part))
    batches = []
    for at in range(0, len(order), size * _POOL):
        pool = np.array(sorted(order[at : at + size * _POOL], key=lambda place: len(part.tokens[place])))
        batches += [pool[begin : begin + size] for begin in range(0, len(pool), size)]
    return [batches[place] for place in random.permutation(len(batches))]


def sorted_batches(part: TokenizedPart, size: int) -> list[NDArray[np.int64]]:
    """Return every sentence's place once, short sentences first, for passes whose order does not matter."""
    order = np.argsort([len(tokens) for tokens in part.tokens], kind="stable")
    return [order[at : at + size] for at in range(0, len(order), size)]


def pad_batch(part: TokenizedPart, places: NDArray[np.int64], padding: int) -> torch.Tensor:
    """Return a batch, int64 [batch, tokens], padded to its longest sentence."""
    longest = max(len(part.tokens[place]) for place in places)
    rows = np.full((len(places), longest), padding, np.int64)
    for row, place in zip(rows, places, strict=True):
        row[: len(part.tokens[place])] = part.tokens[place]
    return torch.from_numpy(rows)
