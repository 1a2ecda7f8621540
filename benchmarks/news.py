"""Sentences and ensembles: what the handler adds to the bare network, and what one call for two models costs."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks.comparison import Plan
from benchmarks.payloads import WrongResponse
from benchmarks.targets import Target
from model_defs.sentiment_transformer import SentimentTransformer
from nautilus_torchserve.inference.model_files import read_description, read_golden
from nautilus_torchserve.inference.models.ensemble import SIZE
from nautilus_torchserve.inference.text_model import TOKENIZER
from nautilus_torchserve.inference.tiles import load_network
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.server.torchserve import ServerSettings, start_server
from nautilus_torchserve.training.sentiment.data import CORPUS
from nautilus_torchserve.training.sentiment.news_corpus import load_corpus
from nautilus_torchserve.wire.news_windows import NewsWindow

TOKENS = 30
"""Of each sentence, the marks at both ends included."""
COUNTS = (1, 32)
"""Sentences of a request."""
BARE, IN_PROCESS, PORT = "tokenise and forward", "handler (mar:)", "inference port"
PRICE, SENTIMENT, ENSEMBLE = "price", "sentiment", "ensemble"
KNOWN = "ensemble, news it has read before"
_DIFFERENT = 2 * SIZE
"""Sentences for the ensemble, which remembers the scores of the last `SIZE`: each is new to it whenever it comes."""
_CUT = 1500
"""Of these cut from the corpus."""
_WARM_UP_CALLS = 20
Step = Callable[[str], None]


@dataclass(frozen=True)
class NewsCell:
    """Latencies of one request, sent one way."""

    name: str
    """`BARE`, `IN_PROCESS`, `PORT`; or the model called over the port, or `KNOWN`."""
    request: str
    sentences: int
    """Sentences of one request."""
    p50_ms: float
    p95_ms: float
    sentences_per_s: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types for the report."""
        return asdict(self)


@dataclass(frozen=True)
class _Call:
    name: str
    request: str
    sentences: int
    make: Callable[[], object]


def compare_news(run: Path, plan: Plan, work: Path, step: Step) -> list[NewsCell]:
    """Start a server with an ensemble and both its members, and measure all of them in turn.

    One worker each, one thread each: what computes the bare forward here has one thread, too.

    Parameters
    ----------
    run : Path
        An ensemble's run folder.
    plan : Plan
    work : Path
        An empty folder.
    step : callable
        Called with what is about to be done, 1 + ``plan.rounds`` times.

    Raises
    ------
    BadArchive, BuildFailed, StartFailed, NoJava
        The run is none, or the server does not start.
    """
    step("starting the server with the news models")
    sources = {ENSEMBLE: run, **{name: run / name for name in read_description(run)["members"]}}
    archives = {name: build_archive(name, source, "1.0", work / "news").path for name, source in sources.items()}
    settings = ServerSettings(
        {name: path.name for name, path in archives.items()}, work / "news", work / "news-home", free_ports=True
    )
    with ExitStack() as stack:
        server = stack.enter_context(start_server(settings))
        over = {name: stack.enter_context(connect(server.inference_url, name, token=server.token)) for name in archives}
        inside = stack.enter_context(connect(f"mar:{archives[SENTIMENT]}", SENTIMENT))
        bare = _Bare(run / SENTIMENT)
        sentences = bare.sentences(_DIFFERENT)
        window = read_golden(run / PRICE).inputs["rows"][:1]
        calls = []
        for count in COUNTS:
            sent, request = sentences[:count], f"{count} of {TOKENS} tokens"
            calls.append(_Call(BARE, request, count, partial(bare.probabilities, sent)))
            calls.append(_Call(IN_PROCESS, request, count, partial(inside.predict, sent)))
            calls.append(_Call(PORT, request, count, partial(over[SENTIMENT].predict, sent)))
        text = f"a window, a sentence of {TOKENS} tokens"
        calls.append(_Call(PRICE, text, 1, partial(over[PRICE].predict, window)))
        calls.append(_Call(SENTIMENT, text, 1, partial(over[SENTIMENT].predict, sentences[:1])))
        predict = over[ENSEMBLE].predict
        news_windows = cycle([NewsWindow(window[0], (sentence,), (0.0,)) for sentence in sentences])
        calls.append(_Call(ENSEMBLE, text, 1, lambda: predict([next(news_windows)])))
        known = [NewsWindow(window[0], tuple(sentences[:1]), (0.0,))]
        calls.append(_Call(KNOWN, text, 1, partial(predict, known)))
        return list(_measure(calls, plan, step))


def find_news_targets(cells: Sequence[NewsCell]) -> list[Target]:
    """Return the targets of the news models and what was measured of them."""
    p50 = {(cell.name, cell.request): cell.p50_ms for cell in cells}
    targets = []
    for count in COUNTS:
        request = f"{count} of {TOKENS} tokens"
        targets.append(
            Target(
                f"{count} sentence{'s' if count > 1 else ''} of {TOKENS} tokens: p50, handler / tokenise and forward",
                p50[IN_PROCESS, request] / p50[BARE, request],
                1.15,
                at_most=True,
            )
        )
    text = f"a window, a sentence of {TOKENS} tokens"
    slower = max(p50[PRICE, text], p50[SENTIMENT, text])
    targets.append(
        Target("ensemble: p50 / the slower member's, over the port", p50[ENSEMBLE, text] / slower, 1.15, True)
    )
    return targets


class _Bare:
    """The network as in a notebook: tokenizer, padded batch, encoder, mean, head."""

    def __init__(self, run: Path) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = cast(SentimentTransformer, load_network(run, read_description(run), device))
        self._tokenizer = Tokenizer.from_file(str(run / TOKENIZER))
        self._tokenizer.no_truncation()
        self._tokenizer.enable_padding()
        self._device = device

    def sentences(self, count: int) -> list[str]:
        """Return so many different sentences of `TOKENS` tokens: the corpus' words, then the same in rotated order."""
        pieces = list(islice(self._cut(), _CUT))
        turned = (" ".join([*words[by:], *words[:by]]) for by in range(1, TOKENS) for words in map(str.split, pieces))
        different = list(islice(dict.fromkeys(chain(pieces, turned)), count))
        if len(different) < count:
            raise WrongResponse(
                f"{CORPUS}: expected {count} different sentences of {TOKENS} tokens, got {len(different)}"
            )
        return different

    def _cut(self) -> Iterator[str]:
        """Yield pieces of the corpus that are `TOKENS` tokens long."""
        words = " ".join(sentence.text for sentence in load_corpus(CORPUS).train).split()
        start = 0
        for stop in range(1, len(words) + 1):
            length = len(self._tokenizer.encode(" ".join(words[start:stop])))
            if length == TOKENS:
                yield " ".join(words[start:stop])
            if length >= TOKENS:
                start = stop

    @torch.inference_mode()
    def probabilities(self, texts: list[str]) -> NDArray[np.float32]:
        encodings = self._tokenizer.encode_batch(texts)
        tokens = torch.tensor([encoding.ids for encoding in encodings], device=self._device)  # (B, L)
        present = torch.tensor([encoding.attention_mask for encoding in encodings], device=self._device)
        states = self._network.encoder(input_ids=tokens, attention_mask=present).last_hidden_state  # (B, L, H)
        mean = (states * present.unsqueeze(2)).sum(dim=1) / present.sum(dim=1, keepdim=True)  # (B, H)
        return (self._network.head(mean) / self._network.temperature).softmax(dim=1).cpu().numpy()


def _measure(calls: Sequence[_Call], plan: Plan, step: Step) -> Iterator[NewsCell]:
    """Measure every call in every round, so that a machine that grows slower does so for all."""
    torch.set_num_threads(1)
    latencies_ms: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
    for call in calls:
        for _ in range(_WARM_UP_CALLS if plan.warm_up else 1):
            call.make()
    for number in range(1, plan.rounds + 1):
        step(f"round {number}: sentences and ensembles")
        for place, call in enumerate(calls):
            latencies_ms[place].append(_timed(call.make, plan.seconds))
    for place, call in enumerate(calls):
        p50, p95, mean = (
            float(np.median([reading(latencies) for latencies in latencies_ms[place]]))
            for reading in (np.median, partial(np.percentile, q=95), np.mean)
        )
        yield NewsCell(call.name, call.request, call.sentences, p50, p95, 1e3 * call.sentences / mean)


def _timed(call: Callable[[], object], seconds: float) -> NDArray[np.float64]:
    """Call repeatedly for so long; return the latencies in ms."""
    latencies_ms: list[float] = []
    until = time.perf_counter() + seconds
    while not latencies_ms or time.perf_counter() < until:
        began = time.perf_counter()
        call()
        latencies_ms.append((time.perf_counter() - began) * 1e3)
    return np.array(latencies_ms)
