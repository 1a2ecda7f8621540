"""Sentiment models: what a holder of the asset would feel about each text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_defs.sentiment_transformer import CLASSES, OUTPUTS
from nautilus_torchserve.inference.explain.integrate import TimeLimit, check_count, explain_each
from nautilus_torchserve.inference.explain.texts import check_length, explain_text
from nautilus_torchserve.inference.text_model import COLUMNS, TextModel, TextNetwork, TokenizedTexts
from nautilus_torchserve.wire.output_constraints import NON_NEGATIVE, PROBABILITY, SCORE, OutputConstraints


class SentimentModel(TextModel):
    """Texts to `COLUMNS`; in JSON with the likeliest class' name and the probabilities side by side."""

    output_names = COLUMNS
    constraints = OutputConstraints(
        {
            "score": SCORE,
            **dict.fromkeys((*CLASSES, "confidence"), PROBABILITY),
            "chunks": NON_NEGATIVE,
            "truncated": PROBABILITY,
        },
        (CLASSES,),
    )
    explained = OUTPUTS
    explain_s, explain_alone_s = 1.0, 20.0
    max_explained, max_explained_bytes = 16, 1 << 15

    def load(self, folder: Path) -> tuple[int, ...]:
        self.texts = TextNetwork(folder, self.device)
        return self.texts.tile_sizes

    def explain(self, request: TokenizedTexts, output: str | None, until_s: float) -> list[dict[str, Any]]:
        chunks, truncated = request.tokens.chunks, request.tokens.truncated
        check_count(len(request), self.max_explained, "texts")
        check_length(chunks)

        def explain_one(number: int, limit: TimeLimit) -> dict[str, Any]:
            return explain_text(self.texts, request.texts[number], chunks[number], truncated[number], output, limit)

        return explain_each(explain_one, range(len(request)), "texts", until_s)

    def columns(self, table: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        named = dict(zip(COLUMNS, table.T, strict=True))
        probability = np.stack([named[name] for name in CLASSES], axis=1)
        return {
            "score": named["score"],
            "label": np.array(CLASSES)[probability.argmax(axis=1)],
            "probabilities": probability,
            "confidence": named["confidence"],
            "chunks": named["chunks"].astype(np.int64),
            "truncated": named["truncated"].astype(np.bool_),
        }
