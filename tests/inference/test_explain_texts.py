"""Sentiment and ensemble explained: every token once, and all parts adding up."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from news_run import WORDS, write_backbone, write_sentiment_run
from price_run import golden_rows, write_price_run

from model_defs.news_pool import NewsPoolConfig, combine, log_odds_up
from model_defs.return_network import ReturnNetwork, predict
from model_defs.sentiment_transformer import OUTPUTS
from nautilus_torchserve.features.bar import bar_schema
from nautilus_torchserve.inference.explain.integrate import TimeLimit, float64_copy
from nautilus_torchserve.inference.explain.news import News, explain_news_window
from nautilus_torchserve.inference.explain.texts import MAX_TOKENS, check_length, explain_text
from nautilus_torchserve.inference.model_files import read_description
from nautilus_torchserve.inference.text_model import COLUMNS, TextNetwork
from nautilus_torchserve.inference.tiles import load_network
from nautilus_torchserve.training.fit.loop import threads
from nautilus_torchserve.wire.errors import NotExplained

CPU = torch.device("cpu")
POOL = NewsPoolConfig(weight_price=0.8, weight_sentiment=1.5, half_life_s=3600.0)
LONG = "Shares of the company rose today, but the bank warns of a loss. " * 7
WHOLE_WORDS = [word for word in WORDS.split() if word.isalpha()]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread, as in a worker."""
    with threads(1):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextNetwork:
    """A sentiment model of 64 tokens a chunk, with a mask token."""
    folder = tmp_path_factory.mktemp("explained")
    return TextNetwork(write_sentiment_run(folder / "sentiment", write_backbone(folder / "bert")), CPU)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> ReturnNetwork:
    """A small price network in float64."""
    run = write_price_run(tmp_path_factory.mktemp("explained-price") / "run")
    network = float64_copy(load_network(run, read_description(run), CPU))
    assert isinstance(network, ReturnNetwork)
    return network


def explained(model: TextNetwork, text: str, output: str | None = None) -> dict[str, Any]:
    tokens = model.read([text])
    return explain_text(model, text, tokens.chunks[0], tokens.truncated[0], output, TimeLimit())


def total(tokens: list[dict[str, Any]]) -> float:
    return math.fsum(token["attribution"] for token in tokens)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(WHOLE_WORDS), min_size=1, max_size=25), st.sampled_from([None, *OUTPUTS]))
def test_a_texts_attributions_add_up_to_what_they_explain(
    model: TextNetwork, words: list[str], output: str | None
) -> None:
    text = " ".join(words)

    explanation = explained(model, text, output)

    difference = explanation["value"] - explanation["baseline_value"]
    answered = dict(zip(COLUMNS, model.compute(model.read([text]))[0].tolist(), strict=True))
    assert explanation["value"] == pytest.approx(answered[output or "score"], abs=1e-5)
    assert abs(total(explanation["tokens"]) - difference) <= max(0.01 * abs(difference), 1e-3)
    assert explanation["complete"]


def test_each_token_stands_where_it_is_in_its_text(model: TextNetwork) -> None:
    text = "Profit roses, but the BANK warns"

    explanation = explained(model, text)

    assert [text[token["start"] : token["end"]] for token in explanation["tokens"]] == [
        t["text"] for t in explanation["tokens"]
    ]
    assert "".join(token["text"] for token in explanation["tokens"]) == text.replace(" ", "")
    assert explanation["chunks"] == [{"tokens": len(explanation["tokens"]) + 2, "weight": 1.0}]


def test_tokens_that_chunks_share_appear_once_and_all_add_up(model: TextNetwork) -> None:
    explanation = explained(model, LONG)

    starts = [token["start"] for token in explanation["tokens"]]
    assert len(explanation["chunks"]) > 1
    assert sum(chunk["weight"] for chunk in explanation["chunks"]) == pytest.approx(1)
    assert starts == sorted(set(starts))
    assert "".join(token["text"] for token in explanation["tokens"]) == LONG.replace(" ", "")
    assert total(explanation["tokens"]) == pytest.approx(explanation["value"] - explanation["baseline_value"], abs=1e-2)
    assert explanation["value"] == pytest.approx(float(model.compute(model.read([LONG]))[0, 0]), abs=1e-5)


def test_a_tokenizer_without_a_mask_has_its_padding_for_a_blank(
    model: TextNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Maskless:
        """The tokenizer as one that knows no mask."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def token_to_id(self, token: str) -> int | None:
            return None if token == "[MASK]" else self.inner.token_to_id(token)

    monkeypatch.setattr(model, "tokenizer", Maskless(model.tokenizer))

    explanation = explained(model, "Profit rose")

    assert "(the padding token in the place of each)" in explanation["baseline"]
    assert explanation["complete"]


def test_only_words_that_are_not_the_blank_have_a_part(model: TextNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, blank = model.network.embeddings, model.tokenizer.token_to_id("[MASK]")
    loud = model.tokenizer.token_to_id("debt")

    def muted(tokens: torch.Tensor) -> torch.Tensor:
        """Make all words but one look like the blank."""
        marks = tokens < blank
        return embeddings(torch.where((tokens == loud) | marks, tokens, blank))

    monkeypatch.setattr(model.network, "embeddings", muted)

    explanation = explained(model, "the order of the bank says debt to the company")

    parts = {token["text"]: token["attribution"] for token in explanation["tokens"]}
    assert parts.pop("debt") == pytest.approx(explanation["value"] - explanation["baseline_value"], abs=1e-6) != 0
    assert set(parts.values()) == {0.0}


def test_too_many_tokens_and_unknown_outputs_are_refused(model: TextNetwork) -> None:
    (chunks,) = model.read([LONG]).chunks

    with pytest.raises(NotExplained, match=rf"expected at most {MAX_TOKENS:,} tokens to explain in a request, got"):
        check_length([chunks] * 20)
    with pytest.raises(NotExplained, match="expected output score, negative, neutral, positive, confidence to explain"):
        explained(model, "Profit rose", "chunks")


def news_of(model: TextNetwork, texts: tuple[str, ...], ages_s: tuple[float, ...]) -> News:
    tokens = model.read(texts) if texts else None
    return News(texts, np.array(ages_s), tokens.chunks if tokens else (), tokens.truncated if tokens else ())


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.integers(0, 7),
    news=st.lists(st.tuples(st.sampled_from(["Profit rose", "a loss", LONG]), st.floats(0, 1e5)), max_size=3),
)
def test_bars_and_news_add_up_to_the_pooled_log_odds(
    network: ReturnNetwork, model: TextNetwork, which: int, news: list[tuple[str, float]]
) -> None:
    window = golden_rows(5)[which]
    texts, ages_s = tuple(text for text, _ in news), tuple(age for _, age in news)

    explanation = explain_news_window(
        network, model, POOL, window, news_of(model, texts, ages_s), bar_schema().columns, TimeLimit()
    )

    scores = model.compute(model.read(texts))[:, 0] if texts else np.zeros(0, np.float32)
    answer = predict(network, torch.from_numpy(window).double().unsqueeze(0)).detach()
    given_news = torch.from_numpy(scores), torch.tensor(ages_s, dtype=torch.float64), torch.tensor([len(texts)])
    combined = combine(answer.float(), *given_news, POOL)
    assert explanation["value"] == pytest.approx(log_odds_up(combined[:, :4]).item(), abs=1e-3)
    parts = np.sum(explanation["price"]["attributions"])
    if texts:
        tokens = [token for text in explanation["news"]["texts"] for token in text["tokens"]]
        assert sum(text["attribution"] for text in explanation["news"]["texts"]) == pytest.approx(total(tokens))
        parts += total(tokens)
    else:
        assert explanation["news"] is None
        assert explanation["price"]["weight"] == 1
    allowed = explanation["completeness_allowed"]
    assert abs(parts - (explanation["value"] - explanation["baseline_value"])) <= allowed
    assert allowed <= 2e-3 + 0.01 * sum(
        abs(part["value"] - part["baseline_value"]) for part in (explanation["price"], explanation["news"]) if part
    )
    assert explanation["complete"]


def test_an_older_text_weighs_less(network: ReturnNetwork, model: TextNetwork) -> None:
    news = news_of(model, ("Profit rose", "Profit rose"), (3600.0, 0.0))

    explanation = explain_news_window(network, model, POOL, golden_rows(5)[0], news, bar_schema().columns, TimeLimit())

    older, newer = explanation["news"]["texts"]
    assert (older["weight"], newer["weight"]) == pytest.approx((1 / 3, 2 / 3))
    assert older["attribution"] == pytest.approx(newer["attribution"] / 2)
