"""Sentiment models: what a holder of the asset would feel about each text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_defs.sentiment_transformer import CLASSES, OUTPUTS
from nautilus_torchserve.inference.explain.integrate import TimeLimit, check_count, explain_each
from nautilus_torchserve.inference.explain.texts import check_length, explain_text
from nautilus_torchserve.inference.model import InferenceModel
from nautilus_torchserve.inference.text_model import COLUMNS, TextNetwork, TokenizedTexts, concat
from nautilus_torchserve.wire.news_windows import TextRequest, check_characters, check_texts, decode_texts
from nautilus_torchserve.wire.output_constraints import NON_NEGATIVE, PROBABILITY, SCORE, OutputConstraints


class SentimentModel(InferenceModel):
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
    inputs = "texts"
    explained = OUTPUTS
    explain_s, explain_alone_s = 1.0, 20.0
    max_explained, max_explained_bytes = 16, 1 << 15

    def load(self, folder: Path) -> tuple[int, ...]:
        self.texts = TextNetwork(folder, self.device)
        return self.texts.tile_sizes

    def decode(self, content: object, content_type: str | None) -> TokenizedTexts:
        return self._tokenize(decode_texts(content, content_type))

    def validate(self, inputs: Sequence[str]) -> TokenizedTexts:
        return self._tokenize(TextRequest(check_texts(list(inputs))))

    def golden_request(self, inputs: Mapping[str, NDArray[Any]]) -> TokenizedTexts:
        return self.validate(inputs["texts"].tolist())

    def compute(self, requests: Sequence[TokenizedTexts]) -> NDArray[np.float32]:
        return self.texts.compute(concat([request.tokens for request in requests]))

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

    def _tokenize(self, request: TextRequest) -> TokenizedTexts:
        check_characters(request.texts, self.max_characters)
        return TokenizedTexts(request.texts, self.texts.read(request.texts), request.open_inference, request.request_id)
