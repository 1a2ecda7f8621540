"""The ensemble: a price model and a sentiment model in one call, a window of bars and the news about its instrument."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

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
from nautilus_torchserve.inference.text_model import TextNetwork, Tokens, concat
from nautilus_torchserve.inference.tiles import WINDOW_TILES, RowNetwork
from nautilus_torchserve.wire.news_windows import NewsRequest, NewsWindow, check_characters, check_news, decode_news
from nautilus_torchserve.wire.output_constraints import (
    NON_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    RETURN_BPS,
    SCORE,
    OutputConstraints,
)

One = TypeVar("One")
Other = TypeVar("Other")
_TRIALS = 7
SIZE = 4096
"""Texts that are cached, the most recently used."""
MAX_LENGTH = 1000
"""Longest text that is cached, characters: all of them take some megabytes at most."""
_SCORE = 0
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


class SideBySide:
    """Runs two functions, the first on a thread of its own where a trial showed that to be quicker.

    torch releases Python's lock while it computes, so two cores can work at once; but a small network is faster than
    the switch between threads. The results are the same either way.

    Parameters
    ----------
    one, other : callable
        Typical work, for the trial.
    """

    def __init__(self, one: Callable[[], object], other: Callable[[], object]) -> None:
        self._pool = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
        durations_s: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(_TRIALS):
            for at_once, times in durations_s.items():
                self.at_once = at_once
                began = time.perf_counter()
                self.run(one, other)
                times.append(time.perf_counter() - began)
        self.at_once = min(durations_s[True]) < min(durations_s[False])
        """Whether both run at once."""

    def run(self, one: Callable[[], One], other: Callable[[], Other]) -> tuple[One, Other]:
        """Return both results."""
        if not self.at_once:
            return one(), other()
        beside = self._pool.submit(one)
        result = other()
        return beside.result(), result
