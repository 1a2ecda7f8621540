"""A window's request with its news read: what waits for the networks."""

from dataclasses import dataclass

from nautilus_torchserve.inference.text_model import Tokens
from nautilus_torchserve.inference.text_request import TokenizedTexts
from nautilus_torchserve.wire.news_windows import NewsRequest


@dataclass(frozen=True)
class TokenizedNews:
    """One request's windows, and its texts as tokens."""

    asked: NewsRequest
    """As it came."""
    tokens: Tokens
    """What the network sees of the texts."""

    @property
    def open_inference(self) -> bool:
        """As of the request."""
        return self.asked.open_inference

    @property
    def request_id(self) -> str | None:
        """As of the request."""
        return self.asked.request_id

    @property
    def texts(self) -> TokenizedTexts:
        """The texts alone, as a sentiment model is asked."""
        return TokenizedTexts(self.asked.texts, self.tokens)

    def __len__(self) -> int:
        return len(self.asked)
