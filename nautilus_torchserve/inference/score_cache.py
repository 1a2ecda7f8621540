"""Scores of texts that were read before: bars share their news with the bars before them."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.inference.text_model import TextModel, Tokens

SIZE = 4096
"""Texts remembered, the most recently asked for."""
LONGEST = 1000
"""Characters of a text that is worth remembering: so all of them take some megabytes at most."""
_SCORE = 0


class ScoreCache:
    """Scores of texts, each computed once while it is remembered.

    A text's score has the same bits whenever it is computed, so that nothing but time tells whether it was.

    Parameters
    ----------
    model : TextModel
    size : int
        Texts to remember.
    """

    def __init__(self, model: TextModel, size: int = SIZE) -> None:
        self._model = model
        self._size = size
        self._known: OrderedDict[str, np.float32] = OrderedDict()

    def scores(self, texts: Sequence[str], tokens: Tokens) -> NDArray[np.float32]:
        """Scores in [-1, 1], float32 [n]; ``tokens`` are what the model made of ``texts``."""
        found = {text: self._known[text] for text in texts if text in self._known}
        new = {text: place for place, text in enumerate(texts) if text not in found}
        if new:
            places = list(new.values())
            unread = Tokens(
                tuple(tokens.chunks[place] for place in places), tuple(tokens.truncated[place] for place in places)
            )
            found.update(zip(new, self._model.compute(unread)[:, _SCORE], strict=True))
        for text, score in found.items():
            if len(text) <= LONGEST:
                self._known[text] = score
                self._known.move_to_end(text)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return np.array([found[text] for text in texts], dtype=np.float32)
