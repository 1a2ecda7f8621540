"""Serves a price model and a sentiment model in one call: a window of bars and the news about its instrument."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_defs.news_pool import OUTPUTS, NewsPool, combine
from model_defs.return_network import ReturnNetwork, predict
from nautilus_torchserve.inference import model_files
from nautilus_torchserve.inference.bar_windows import allows_jumps, check_windows
from nautilus_torchserve.inference.explain.integrate import TimeLimit, check_count, chosen, explain_each, float64_copy
from nautilus_torchserve.inference.explain.news import OUTPUT, News, explain_news_window
from nautilus_torchserve.inference.explain.texts import check_length
from nautilus_torchserve.inference.news_request import TokenizedNews
from nautilus_torchserve.inference.row_model import RowModel
from nautilus_torchserve.inference.score_cache import ScoreCache
from nautilus_torchserve.inference.side_by_side import SideBySide
from nautilus_torchserve.inference.text_model import TextModel
from nautilus_torchserve.inference.text_request import together
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
from nautilus_torchserve.worker.trading_handler import TradingHandler

NO_NEWS = "no news: the price model's forecast alone"


class EnsembleHandler(TradingHandler):
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
    explaining_s, explaining_alone_s = 1.0, 20.0
    most_explained, most_explained_bytes = 4, 1 << 17

    def load(self, folder: Path) -> tuple[int, ...]:
        price, sentiment = self.description["members"]
        self.price = RowModel(folder / price, _predict, self.device, *WINDOW_TILES)
        self.sentiment = TextModel(folder / sentiment, self.device)
        self.scores = ScoreCache(self.sentiment)
        self.pool = cast(NewsPool, model_files.build_network(self.description)).config
        window = self.price.golden.inputs["rows"][:1]
        text = self.sentiment.read(model_files.read_golden(folder / sentiment).inputs["texts"].tolist()[:1])
        self.members = SideBySide(lambda: self.price.compute(window), lambda: self.sentiment.compute(text))
        return self.price.tiles.sizes

    def decode(self, content: object, content_type: str | None) -> TokenizedNews:
        return self._read_texts(decode_news(content, content_type, self.schema.row_shape))

    def accept(self, inputs: Sequence[NewsWindow]) -> TokenizedNews:
        return self._read_texts(check_news(inputs, self.schema.row_shape))

    def golden_request(self, inputs: Mapping[str, NDArray[Any]]) -> TokenizedNews:
        return self._read_texts(
            NewsRequest(inputs["rows"], tuple(inputs["texts"].tolist()), inputs["ages_s"], inputs["counts"])
        )

    def compute(self, asked: Sequence[TokenizedNews]) -> NDArray[np.float32]:
        rows, ages, counts = (
            np.concatenate([getattr(request.asked, name) for request in asked]) for name in ("rows", "ages_s", "counts")
        )
        texts = [text for request in asked for text in request.asked.texts]
        tokens = together([request.texts for request in asked])
        forecast, scores = self.members.run(lambda: self.price.compute(rows), lambda: self.scores.scores(texts, tokens))
        with torch.inference_mode():
            answer, score, age, count = map(torch.from_numpy, (forecast, scores, ages, counts))
            return combine(answer, score, age, count, self.pool).numpy()

    def explain_request(self, asked: TokenizedNews, output: str | None, until_s: float) -> list[dict[str, Any]]:
        chosen(output, OUTPUT, self.explained)
        tokens, request = asked.tokens, asked.asked
        check_count(len(request), self.most_explained, "windows")
        check_length(tokens.chunks)
        network, columns = float64_copy(self.price.network), self.schema.columns
        ends = np.cumsum(request.counts).tolist()

        def explain_one(number: int, limit: TimeLimit) -> dict[str, Any]:
            window, count = request.rows[number], int(request.counts[number])
            part = slice(ends[number] - count, ends[number])
            news = News(request.texts[part], request.ages_s[part], tokens.chunks[part], tokens.truncated[part])
            said = explain_news_window(network, self.sentiment, self.pool, window, news, columns, limit)
            return {**said, "fallback": "" if count else NO_NEWS}

        return explain_each(explain_one, range(len(request)), "windows", until_s)

    def columns(self, table: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        named = dict(zip(OUTPUTS, table.T, strict=True))
        counts = named.pop("texts").astype(np.int64)
        return {**named, "texts": counts, "fallback": np.where(counts > 0, "", NO_NEWS)}

    def _read_texts(self, request: NewsRequest) -> TokenizedNews:
        check_windows(request.windows, allows_jumps(self.description))
        check_characters(request.texts, self.limits.characters)
        return TokenizedNews(request, self.sentiment.read(request.texts))


def _predict(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    return predict(cast(ReturnNetwork, network), rows)  # (B, 4)
