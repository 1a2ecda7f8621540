"""Texts of a request that have been read: what waits for the network."""

from collections.abc import Sequence
from dataclasses import dataclass

from nautilus_torchserve.inference.text_model import Tokens


@dataclass(frozen=True)
class TokenizedTexts:
    """One request's texts as tokens."""

    texts: tuple[str, ...]
    """As they came."""
    tokens: Tokens
    """What the network sees of them."""
    open_inference: bool = False
    """True when it came as an Open Inference Protocol body and wants its answer in kind."""
    request_id: str | None = None
    """The protocol's optional ``id``, sent back."""

    def __len__(self) -> int:
        return len(self.texts)


def together(asked: Sequence[TokenizedTexts]) -> Tokens:
    """The tokens of several requests, one after the other."""
    if len(asked) == 1:
        return asked[0].tokens
    return Tokens(
        tuple(chunks for request in asked for chunks in request.tokens.chunks),
        tuple(truncated for request in asked for truncated in request.tokens.truncated),
    )
