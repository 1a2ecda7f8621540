"""The ensemble: a price model and a sentiment model in one call, a window of bars and the news about its instrument."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_defs.news_pool import OUTPUTS, NewsPool, combine
from model_defs.return_network import ReturnNetwork, predict
from nautilus_torchserve.inference import model_files
from nautilus_torchserve.inference.explain.integrate import (
    TimeLimit,
    check_count,
    explain_each,
    float64_copy,
    select_output,
)
from nautilus_torchserve.inference.explain.news import OUTPUT, News, explain_news_window
from nautilus_torchserve.inference.explain.texts import check_length
from nautilus_torchserve.inference.model import InferenceModel
from nautilus_torchserve.inference.models.price import allows_jumps, check_windows
from nautilus_torchserve.inference.row_model import RowNetwork
from nautilus_torchserve.inference.score_cache import ScoreCache
from nautilus_torchserve.inference.side_by_side import SideBySide
from nautilus_torchserve.inference.text_model import TextNetwork, Tokens, concat
from nautilus_torchserve.inference.tiles import WINDOW_TILES
from nautilus_torchserve.wire.news_windows import NewsRequest, NewsWindow, check_news, decode_news
from nautilus_torchserve.wire.output_constraints import (
    NON_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    RETURN_BPS,
    SCORE,
    OutputConstraints,
)
from nautilus_torchserve.wire.texts import check_characters

NO_NEWS = "no news: the price model's forecast alone"


@dataclass(frozen=True)
class TokenizedNews:
    """One request's windows, and its texts as tokens."""

    request: NewsRequest
    """The decoded request."""
    tokens: Tokens
    """The tokens of its texts."""

    @property
    def open_inference(self) -> bool:
        """As of the request."""
        return self.request.open_inference

    @property
    def request_id(self) -> str | None:
        """As of the request."""
        return self.request.request_id

    def __len__(self) -> int:
        return len(self.request)


class EnsembleModel(InferenceModel):
    """Both members at once, then `model_defs.news_pool`; TorchServe's own workflows are slower and lose answers."""

    output_names = OUTPUTS
    constraints = OutputConstraints(
        {
            "price": POSITIVE,
            **dict.fromkeys(("return_bps", "price_return_bps"), RETURN_BPS),
            **dict.fromkeys(("confidence", "price_confidence"), PROBABILITY),
            **dict.fromkeys(("sigma_bps", "weight_price", "weight_sentiment", "texts"), NON_NEGATIVE),
            "sentiment_score": SCORE,
        }
    )
    inputs = "windows and texts"
    explained = (OUTPUT,)
    explain_s, explain_alone_s = 1.0, 20.0
    max_explained, max_explained_bytes = 4, 1 << 17

    def load(self, folder: Path) -> tuple[int, ...]:
        price, sentiment = self.description["members"]
        self.price = RowNetwork(folder / price, _predict, self.device, *WINDOW_TILES)
        self.sentiment = TextNetwork(folder / sentiment, self.device)
        self.scores = ScoreCache(self.sentiment)
        self.pool = cast(NewsPool, model_files.build_network(self.description)).config
        window = self.price.golden.inputs["rows"][:1]
        text = self.sentiment.read(model_files.read_golden(folder / sentiment).inputs["texts"].tolist()[:1])
        self.members = SideBySide(lambda: self.price.compute(window), lambda: self.sentiment.compute(text))
        return self.price.tiles.sizes

    def decode(self, content: object, content_type: str | None) -> TokenizedNews:
        return self._tokenize(decode_news(content, content_type, self.schema.row_shape))

    def validate(self, inputs: Sequence[NewsWindow]) -> TokenizedNews:
        return self._tokenize(check_news(inputs, self.schema.row_shape))

    def golden_request(self, inputs: Mapping[str, NDArray[Any]]) -> TokenizedNews:
        return self._tokenize(
            NewsRequest(inputs["rows"], tuple(inputs["texts"].tolist()), inputs["ages_s"], inputs["counts"])
        )

    def compute(self, requests: Sequence[TokenizedNews]) -> NDArray[np.float32]:
        rows, ages, counts = (
            np.concatenate([getattr(tokenized.request, name) for tokenized in requests])
            for name in ("rows", "ages_s", "counts")
        )
        texts = [text for tokenized in requests for text in tokenized.request.texts]
        tokens = concat([tokenized.tokens for tokenized in requests])
        forecasts, scores = self.members.run(
            lambda: self.price.compute(rows), lambda: self.scores.scores(texts, tokens)
        )
        with torch.inference_mode():
            forecast, score, age, count = map(torch.from_numpy, (forecasts, scores, ages, counts))
            return combine(forecast, score, age, count, self.pool).numpy()

    def explain(self, tokenized: TokenizedNews, output: str | None, until_s: float) -> list[dict[str, Any]]:
        select_output(output, OUTPUT, self.explained)
        tokens, request = tokenized.tokens, tokenized.request
        check_count(len(request), self.max_explained, "windows")
        check_length(tokens.chunks)
        network, columns = float64_copy(self.price.network), self.schema.columns
        ends = np.cumsum(request.counts).tolist()

        def explain_one(number: int, limit: TimeLimit) -> dict[str, Any]:
            window, count = request.rows[number], int(request.counts[number])
            part = slice(ends[number] - count, ends[number])
            news = News(request.texts[part], request.ages_s[part], tokens.chunks[part], tokens.truncated[part])
            explanation = explain_news_window(network, self.sentiment, self.pool, window, news, columns, limit)
            return {**explanation, "fallback": "" if count else NO_NEWS}

        return explain_each(explain_one, range(len(request)), "windows", until_s)

    def columns(self, table: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        named = dict(zip(OUTPUTS, table.T, strict=True))
        counts = named.pop("texts").astype(np.int64)
        return {**named, "texts": counts, "fallback": np.where(counts > 0, "", NO_NEWS)}

    def _tokenize(self, request: NewsRequest) -> TokenizedNews:
        check_windows(request.windows, allows_jumps(self.description))
        check_characters(request.texts, self.max_characters)
        return TokenizedNews(request, self.sentiment.read(request.texts))


def _predict(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    return predict(cast(ReturnNetwork, network), rows)  # (B, 4)
