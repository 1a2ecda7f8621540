"""Sentences whose label a few words decide, which even a tiny random encoder can learn."""

from pathlib import Path

import numpy as np

WORDS = {
    "positive": ("profit rose", "record order", "strong sales", "wins contract"),
    "negative": ("loss", "weak sales", "warns", "debt fell"),
    "neutral": ("the company", "today", "bank outlook", "shares"),
}
QUICK = (
    "fit.epochs=3",
    "fit.learning_rate=0.003",
    "fit.freeze_embeddings=false",
    "fit.batch_sentences=8",
    "fit.validation_share=0.2",
)
"""Settings for these, and for an encoder that knows nothing yet."""


def lines(count: int, seed: int = 1) -> list[str]:
    """Return so many sentences as ``text@label`` lines, all different, the classes in turn."""
    random = np.random.default_rng(seed)
    sample = []
    for number in range(count):
        label = tuple(WORDS)[number % 3]
        filler = " ".join(random.choice(["of", "on", "a", "in", "to", "and"], 3))
        sample.append(f"{random.choice(WORDS[label])} {filler} {number}@{label}")
    return sample


def write_sentences(path: Path, count: int = 120, seed: int = 1) -> Path:
    path.write_text("\n".join(lines(count, seed)) + "\n")
    return path
