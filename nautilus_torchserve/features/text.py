"""The inputs of a model of texts: one text a row, unchanged."""

import unicodedata
from collections import Counter
from itertools import islice

from nautilus_torchserve.features.schema import Column, FeatureSchema

TEXT_SCHEMA = FeatureSchema(name="text/1", columns=(Column("text", "utf-8"),), window=1, dtype="string")
"""Cleaning, tokens and chunks are part of the model and of its archive."""
_LETTERS = 1000
"""Most letters that decide on the script of a text."""


def script_of(text: str) -> str | None:
    """Return the script of most of a text's first letters: ``LATIN``, ``CYRILLIC``, ``CJK``; None without letters.

    It is the first word of a letter's Unicode name, which names the script of all letters in daily use.
    """
    if text.isascii():  # as nearly all are
        return "LATIN" if any(map(str.isalpha, text)) else None
    letters = islice(filter(str.isalpha, text), _LETTERS)
    names = Counter(unicodedata.name(letter, "UNKNOWN").split()[0].partition("-")[0] for letter in letters)
    return names.most_common(1)[0][0] if names else None
