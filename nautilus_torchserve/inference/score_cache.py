"""A cache of texts' scores: bars share their news with the bars before them."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.inference.text_model import TextNetwork, Tokens

SIZE = 4096
"""Texts that are cached, the most recently used."""
MAX_LENGTH = 1000
"""Longest text that is cached, characters: all of them take some megabytes at most."""
_SCORE = 0


class ScoreCache:
    """Scores of texts, each computed once while it is cached.

    A text's score has the same bits whenever it is computed, so a cached one changes nothing but the time taken.

    Parameters
    ----------
    model : TextModel
    size : int
        Texts to cache.
    """

    def __init__(self, model: TextNetwork, size: int = SIZE) -> None:
        self._model = model
        self._size = size
        self._cached: OrderedDict[str, np.float32] = OrderedDict()

    def scores(self, texts: Sequence[str], tokens: Tokens) -> NDArray[np.float32]:
        """Return scores in [-1, 1], float32 [n]; ``tokens`` are those of ``texts``."""
        scores = {text: self._cached[text] for text in texts if text in self._cached}
        new = {text: place for place, text in enumerate(texts) if text not in scores}
        if new:
            places = list(new.values())
            unread = Tokens(
                tuple(tokens.chunks[place] for place in places), tuple(tokens.truncated[place] for place in places)
            )
            scores.update(zip(new, self._model.compute(unread)[:, _SCORE], strict=True))
        for text, score in scores.items():
            if len(text) <= MAX_LENGTH:
                self._cached[text] = score
                self._cached.move_to_end(text)
        while len(self._cached) > self._size:
            self._cached.popitem(last=False)
        return np.array([scores[text] for text in texts], dtype=np.float32)
