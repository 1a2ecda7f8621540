"""The sentiment actor: batches of headlines, arrival of scores, and unreadable headlines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nautilus_trader.model.data import CustomData
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from news_support import ELSEWHERE, ETH, SECOND, SIM, TEXTS, UNREADABLE, as_data, headline, ids, run_actor

from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.trades.trades import Instrument
from nautilus_torchserve.serving.client.client import PredictionResponse, connect
from nautilus_torchserve.serving.client.in_process import InProcessClient
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.instruments import perpetual
from nautilus_torchserve.trading.news.headline import HEADLINE_TYPE, NewsHeadline
from nautilus_torchserve.trading.news.sentiment_actor import (
    DecayedMean,
    InstrumentSentiment,
    SentimentActor,
    SentimentActorConfig,
    sentiment_scores,
    sentiment_type,
)

START = 1_700_000_000 * SECOND
LATENCY = 50_000_000
HALF_LIFE = 10 * SECOND
END = headline("The market closes", START + 3600 * SECOND, ELSEWHERE)
"""About no traded instrument; simulated time runs until then."""


@pytest.fixture
def sent_requests(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record every request to in-process clients."""
    recorded: list[list[str]] = []
    predict = InProcessClient.predict

    def recording_predict(
        client: InProcessClient, texts: list[str], deadline_ns: int | None = None
    ) -> PredictionResponse:
        recorded.append(texts)
        return predict(client, texts, deadline_ns)

    monkeypatch.setattr(InProcessClient, "predict", recording_predict)
    return recorded


def score(
    archives: dict[str, Path], headlines: list[Headline], also: tuple[NewsHeadline, ...] = (), **changes: Any
) -> tuple[SentimentActor, list[InstrumentSentiment]]:
    """The actor, and what it published about two instruments."""
    settings = {"url": f"mar:{archives['sentiment']}", "half_life_ns": HALF_LIFE, "latency_ns": LATENCY, **changes}
    actor = SentimentActor(SentimentActorConfig(instrument_ids=ids(SIM, ETH), **settings))
    instruments = [perpetual(Instrument(symbol, "SIM", 2, 3), fee_bps=0.0) for symbol in ("SIMUSD", "ETHUSD")]
    data = [*as_data([*headlines, END]), *(CustomData(HEADLINE_TYPE, each) for each in also)]
    return actor, run_actor(
        actor, instruments, [data], [f"data.{sentiment_type(name).topic}" for name in ids(SIM, ETH)]
    )


def scores_of(archives: dict[str, Path], texts: list[str]) -> list[float]:
    with connect(f"mar:{archives['sentiment']}", "sentiment") as client:
        return client.predict(texts).outputs["score"].tolist()


def decayed(values: list[float], times: list[int], half_life_ns: int) -> float:
    """The formula as it stands."""
    weights = [2.0 ** ((time - max(times)) / half_life_ns) for time in times]
    return sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights)


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.integers(START, START + 10**6 * SECOND)), min_size=1, max_size=30),
    st.integers(1, 10**6 * SECOND),
)
def test_the_decayed_mean_is_the_formula_of_all_values_in_any_order(
    values: list[tuple[float, int]], half_life_ns: int
) -> None:
    mean = DecayedMean(half_life_ns)

    means = [mean.update(value, time) for value, time in values]

    for count in range(1, len(values) + 1):
        numbers, times = (list(column) for column in zip(*values[:count], strict=True))
        assert means[count - 1] == pytest.approx(decayed(numbers, times, half_life_ns), rel=1e-9, abs=1e-9)
    assert mean.count == len(values)


def test_each_headline_moves_the_sentiment_of_what_it_is_about_a_latency_later(news_archives: dict[str, Path]) -> None:
    times = [START + gap * SECOND for gap in (0, 4, 4, 11, 90, 91)]
    about = [(SIM,), (SIM, ETH), (ETH,), (SIM,), (SIM, ELSEWHERE), (ELSEWHERE,)]
    headlines = [headline(*each) for each in zip(TEXTS, times, strict=True)]
    headlines = [Headline(h.text, "", names, h.ts_event, h.ts_init) for h, names in zip(headlines, about, strict=True)]

    _, published = score(news_archives, headlines)

    scores = scores_of(news_archives, list(TEXTS))
    for name, expected in ((SIM, [0, 1, 3, 4]), (ETH, [1, 2])):
        about_instrument = [sentiment for sentiment in published if sentiment.instrument_id.value == name]
        assert [sentiment.ts_init for sentiment in about_instrument] == [times[at] + LATENCY for at in expected]
        assert [sentiment.ts_event for sentiment in about_instrument] == [headlines[at].ts_event for at in expected]
        assert [sentiment.last_score for sentiment in about_instrument] == [scores[at] for at in expected]
        assert [sentiment.headlines for sentiment in about_instrument] == list(range(1, len(expected) + 1))
        for count, each in enumerate(about_instrument, 1):
            so_far = expected[:count]
            mean = decayed([scores[at] for at in so_far], [times[at] for at in so_far], HALF_LIFE)
            assert each.score == pytest.approx(mean, rel=1e-12)
    assert len({sentiment.score for sentiment in published}) == len(published) == 6
    assert {(sentiment.model, sentiment.version) for sentiment in published} == {("sentiment", "1.0")}
    with connect(f"mar:{news_archives['sentiment']}", "sentiment") as client:
        assert {sentiment.archive_digest for sentiment in published} == {client.metadata.archive_digest}


def test_headlines_received_together_make_one_request(
    news_archives: dict[str, Path], sent_requests: list[list[str]]
) -> None:
    together = [headline(text, START, name) for text, name in zip(TEXTS[:3], (SIM, ETH, SIM), strict=True)]
    before_due = headline(TEXTS[3], START + LATENCY // 2)

    _, published = score(news_archives, [*together, before_due])

    assert sent_requests == [list(TEXTS[:3]), [TEXTS[3]]]
    assert [sentiment.ts_init for sentiment in published] == [START + LATENCY] * 3 + [before_due.ts_init + LATENCY]


def test_many_headlines_are_split_into_batches(news_archives: dict[str, Path], sent_requests: list[list[str]]) -> None:
    crowd = [headline(TEXTS[at % 6], START) for at in range(10)]

    _, published = score(news_archives, crowd, max_batch=4)

    assert [len(texts) for texts in sent_requests] == [4, 4, 2]
    assert [sentiment.headlines for sentiment in published] == list(range(1, 11))


def test_unreadable_headlines_fail_alone(news_archives: dict[str, Path]) -> None:
    good = [headline(text, START) for text in TEXTS[:5]]
    bad = [headline(text, START, SIM, ETH, ELSEWHERE) for text in (UNREADABLE, "Прибыль выросла", "profit " * 40_000)]

    actor, published = score(news_archives, [*good[:2], bad[0], *good[2:], *bad[1:]])

    assert actor.unreadable == {name: [START] * 3 for name in ids(SIM, ETH)}
    assert actor.failed == {name: [] for name in ids(SIM, ETH)}
    _, alone = score(news_archives, good)
    assert [(sentiment.score, sentiment.headlines) for sentiment in published] == [
        (sentiment.score, sentiment.headlines) for sentiment in alone
    ]
    assert len(published) == 5


def test_failures_end_requests_but_refusals_do_not(
    news_archives: dict[str, Path], sent_requests: list[list[str]]
) -> None:
    unreadable = [headline(UNREADABLE, START + at * SECOND) for at in range(5)]
    no_text = [  # as a careless feed may publish it; no catalog would hold it
        NewsHeadline(ts_event=START, ts_init=START + at * SECOND, text=at, source="", instrument_ids=ids(SIM))
        for at in range(10, 15)
    ]

    actor, published = score(
        news_archives,
        [*unreadable, headline(TEXTS[0], START + 9 * SECOND), headline(TEXTS[1], START + 20 * SECOND)],
        also=tuple(no_text),
        max_failures=3,
    )

    assert [sentiment.last_score for sentiment in published] == scores_of(news_archives, [TEXTS[0]])
    assert [time - START for time in actor.unreadable[ids(SIM)[0]]] == [at * SECOND for at in range(5)]
    assert [time - START for time in actor.failed[ids(SIM)[0]]] == [at * SECOND for at in (10, 11, 12)]
    assert actor.gave_up
    assert "expected strings, got int" in actor.last_error


def test_sentiment_due_after_the_last_datum_is_not_published(news_archives: dict[str, Path]) -> None:
    actor, published = score(news_archives, [headline(TEXTS[0], END.ts_init - LATENCY // 2)])

    assert published == []
    assert not actor.gave_up


def test_sentiment_goes_through_a_catalog_and_back(news_archives: dict[str, Path], tmp_path: Path) -> None:
    _, published = score(news_archives, [headline(text, START + at) for at, text in enumerate(TEXTS)])
    catalog = ParquetDataCatalog(tmp_path)

    catalog.write_data(published)

    back = [custom.data for custom in catalog.query(InstrumentSentiment)]
    assert back == published
    np.testing.assert_array_equal([sentiment.score for sentiment in back], [sentiment.score for sentiment in published])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"instrument_ids": []}, "expected instrument_ids of at least 1 instrument, got none"),
        ({"instrument_ids": ids(SIM, SIM)}, "expected instrument_ids of different instruments, got"),
        ({"half_life_ns": 0}, "expected half_life_ns of at least 1, got 0"),
        ({"max_batch": 0}, "expected max_batch of at least 1, got 0"),
        ({"latency_ns": -1}, "latency_ns of at least 0.* got -1"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        SentimentActorConfig(**{"url": "mar:sentiment.mar", "instrument_ids": ids(SIM), **wrong})


def test_score_of_a_model_with_classes_alone_is_their_difference() -> None:
    classes = {"positive": np.float32([0.75, 0.125]), "negative": np.float32([0.25, 0.5])}

    np.testing.assert_array_equal(sentiment_scores(classes), np.float32([0.5, -0.375]))
    np.testing.assert_array_equal(sentiment_scores({**classes, "score": np.float32([1, 0])}), np.float32([1, 0]))
