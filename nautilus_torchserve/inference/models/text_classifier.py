"""Text classifiers of others: texts to one output for each of their classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.inference.models.generic import ACTIVATIONS, output_constraints, read_output_names
from nautilus_torchserve.inference.text_model import MAX_CHUNKS, TextModel, TextNetwork, TokenizedTexts
from nautilus_torchserve.wire.errors import BadText, NotExplained


class TextClassifier(TextModel):
    """Texts to the outputs that ``model.json`` names: a long text's are the mean of its chunks', by their lengths."""

    explained = ()

    def load(self, folder: Path) -> tuple[int, ...]:
        activation = self.description.get("activation")
        activate = ACTIVATIONS[activation]
        self.output_names = read_output_names(self.description)
        self.constraints = output_constraints(activation, self.output_names)
        self.texts = TextNetwork(
            folder, self.device, lambda network, tokens: activate(network(tokens)), lambda means: means
        )
        return self.texts.tile_sizes

    def compute(self, requests: Sequence[TokenizedTexts]) -> NDArray[np.float32]:
        for request in requests:
            if any(truncated := request.tokens.truncated):
                text = truncated.index(True)
                raise BadText(f"expected texts of at most {MAX_CHUNKS} chunks of tokens, got more in text {text}")
        return np.ascontiguousarray(super().compute(requests)[:, : len(self.output_names)])

    def explain(self, request: TokenizedTexts, output: str | None, until_s: float) -> NoReturn:
        raise NotExplained(
            "expected a model that explains its outputs, got a text classifier of others, which does not"
        )
