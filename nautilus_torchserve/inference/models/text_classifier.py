"""Text classifiers of others: texts to one output for each of their classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.inference.model import InferenceModel
from nautilus_torchserve.inference.models.generic import ACTIVATIONS, output_constraints, read_output_names
from nautilus_torchserve.inference.text_model import MAX_CHUNKS, TextNetwork, TokenizedTexts, concat
from nautilus_torchserve.wire.errors import BadText, NotExplained
from nautilus_torchserve.wire.news_windows import TextRequest, check_characters, check_texts, decode_texts


class TextClassifier(InferenceModel):
    """Texts to the outputs that ``model.json`` names: a long text's are the mean of its chunks', by their lengths."""

    inputs = "texts"
    explained = ()

    def load(self, folder: Path) -> tuple[int, ...]:
        activation = self.description.get("activation")
        self.output_names = read_output_names(self.description)
        self.constraints = output_constraints(activation, self.output_names)
        activate = ACTIVATIONS[activation]
        self.texts = TextNetwork(
            folder, self.device, lambda network, tokens: activate(network(tokens)), lambda mean: mean
        )
        return self.texts.tile_sizes

    def decode(self, content: object, content_type: str | None) -> TokenizedTexts:
        return self._tokenize(decode_texts(content, content_type))

    def validate(self, inputs: Sequence[str]) -> TokenizedTexts:
        return self._tokenize(TextRequest(check_texts(list(inputs))))

    def golden_request(self, inputs: Mapping[str, NDArray[Any]]) -> TokenizedTexts:
        return self.validate(inputs["texts"].tolist())

    def compute(self, requests: Sequence[TokenizedTexts]) -> NDArray[np.float32]:
        table = self.texts.compute(concat([request.tokens for request in requests]))
        return np.ascontiguousarray(table[:, : len(self.output_names)])

    def explain(self, request: TokenizedTexts, output: str | None, until_s: float) -> NoReturn:
        raise NotExplained(
            "expected a model that explains its outputs, got a text classifier of others, which does not"
        )

    def _tokenize(self, request: TextRequest) -> TokenizedTexts:
        check_characters(request.texts, self.max_characters)
        tokens = self.texts.read(request.texts)
        if any(tokens.truncated):
            raise BadText(
                f"expected texts of at most {MAX_CHUNKS} chunks, got more in text {tokens.truncated.index(True)}"
            )
        return TokenizedTexts(request.texts, tokens, request.open_inference, request.request_id)
