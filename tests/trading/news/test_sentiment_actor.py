"""Headlines scored as they arrive: in which company, when it counts, and what one bad headline costs."""

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
from nautilus_torchserve.trading.news.decayed_mean import DecayedMean
from nautilus_torchserve.trading.news.headline import HEADLINE_TYPE, NewsHeadline
from nautilus_torchserve.trading.news.sentiment_actor import (
    InstrumentSentiment,
    SentimentActor,
    SentimentActorConfig,
    sentiment_type,
)

START = 1_700_000_000 * SECOND
LATENCY = 50_000_000
HALF_LIFE = 10 * SECOND
END = headline("The market closes", START + 3600 * SECOND, ELSEWHERE)
"""About nobody; simulated time goes on until then."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every request that in-process clients answer, as they are sent."""
    seen: list[list[str]] = []
    predict = InProcessClient.predict

    def noting(client: InProcessClient, texts: list[str], deadline_ns: int | None = None) -> PredictionResponse:
        seen.append(texts)
        return predict(client, texts, deadline_ns)

    monkeypatch.setattr(InProcessClient, "predict", noting)
    return seen


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

    found = [mean.update(value, time) for value, time in values]

    for count in range(1, len(values) + 1):
        numbers, times = (list(column) for column in zip(*values[:count], strict=True))
        assert found[count - 1] == pytest.approx(decayed(numbers, times, half_life_ns), rel=1e-9, abs=1e-9)
    assert mean.count == len(values)


def test_each_headline_moves_the_sentiment_of_what_it_is_about_a_latency_later(news_archives: dict[str, Path]) -> None:
    times = [START + gap * SECOND for gap in (0, 4, 4, 11, 90, 91)]
    about = [(SIM,), (SIM, ETH), (ETH,), (SIM,), (SIM, ELSEWHERE), (ELSEWHERE,)]
    headlines = [headline(*each) for each in zip(TEXTS, times, strict=True)]
    headlines = [Headline(h.text, "", names, h.ts_event, h.ts_init) for h, names in zip(headlines, about, strict=True)]

    _, heard = score(news_archives, headlines)

    scores = scores_of(news_archives, list(TEXTS))
    for name, expected in ((SIM, [0, 1, 3, 4]), (ETH, [1, 2])):
        said = [each for each in heard if each.instrument_id.value == name]
        assert [each.ts_init for each in said] == [times[at] + LATENCY for at in expected]
        assert [each.ts_event for each in said] == [headlines[at].ts_event for at in expected]
        assert [each.last_score for each in said] == [scores[at] for at in expected]
        assert [each.headlines for each in said] == list(range(1, len(expected) + 1))
        for count, each in enumerate(said, 1):
            so_far = expected[:count]
            mean = decayed([scores[at] for at in so_far], [times[at] for at in so_far], HALF_LIFE)
            assert each.score == pytest.approx(mean, rel=1e-12)
    assert len({each.score for each in heard}) == len(heard) == 6
    assert {(each.model, each.version) for each in heard} == {("sentiment", "1.0")}
    with connect(f"mar:{news_archives['sentiment']}", "sentiment") as client:
        assert {each.archive_digest for each in heard} == {client.metadata.archive_digest}


def test_headlines_received_together_make_one_request(news_archives: dict[str, Path], asked: list[list[str]]) -> None:
    together = [headline(text, START, name) for text, name in zip(TEXTS[:3], (SIM, ETH, SIM), strict=True)]
    before_due = headline(TEXTS[3], START + LATENCY // 2)

    _, heard = score(news_archives, [*together, before_due])

    assert asked == [list(TEXTS[:3]), [TEXTS[3]]]
    assert [each.ts_init for each in heard] == [START + LATENCY] * 3 + [before_due.ts_init + LATENCY]


def test_a_crowd_is_asked_about_in_parts(news_archives: dict[str, Path], asked: list[list[str]]) -> None:
    crowd = [headline(TEXTS[at % 6], START) for at in range(10)]

    _, heard = score(news_archives, crowd, max_batch=4)

    assert [len(texts) for texts in asked] == [4, 4, 2]
    assert [each.headlines for each in heard] == list(range(1, 11))


def test_headlines_that_cannot_be_read_cost_their_neighbours_nothing(news_archives: dict[str, Path]) -> None:
    good = [headline(text, START) for text in TEXTS[:5]]
    bad = [headline(text, START, SIM, ETH, ELSEWHERE) for text in (UNREADABLE, "Прибыль выросла", "profit " * 40_000)]

    actor, heard = score(news_archives, [*good[:2], bad[0], *good[2:], *bad[1:]])

    assert actor.unreadable == {name: [START] * 3 for name in ids(SIM, ETH)}
    assert actor.failed == {name: [] for name in ids(SIM, ETH)}
    _, alone = score(news_archives, good)
    assert [(each.score, each.headlines) for each in heard] == [(each.score, each.headlines) for each in alone]
    assert len(heard) == 5


def test_refusals_never_end_the_asking_but_failures_do(news_archives: dict[str, Path], asked: list[list[str]]) -> None:
    unreadable = [headline(UNREADABLE, START + at * SECOND) for at in range(5)]
    no_text = [  # as a careless feed may publish it; no catalog would hold it
        NewsHeadline(ts_event=START, ts_init=START + at * SECOND, text=at, source="", instrument_ids=ids(SIM))
        for at in range(10, 15)
    ]

    actor, heard = score(
        news_archives,
        [*unreadable, headline(TEXTS[0], START + 9 * SECOND), headline(TEXTS[1], START + 20 * SECOND)],
        also=tuple(no_text),
        max_failures=3,
    )

    assert [each.last_score for each in heard] == scores_of(news_archives, [TEXTS[0]])
    assert [time - START for time in actor.unreadable[ids(SIM)[0]]] == [at * SECOND for at in range(5)]
    assert [time - START for time in actor.failed[ids(SIM)[0]]] == [at * SECOND for at in (10, 11, 12)]
    assert actor.gave_up
    assert "expected strings, got int" in actor.last_error


def test_what_takes_effect_after_the_last_datum_never_does(news_archives: dict[str, Path]) -> None:
    actor, heard = score(news_archives, [headline(TEXTS[0], END.ts_init - LATENCY // 2)])

    assert heard == []
    assert not actor.gave_up


def test_sentiment_goes_through_a_catalog_and_back(news_archives: dict[str, Path], tmp_path: Path) -> None:
    _, heard = score(news_archives, [headline(text, START + at) for at, text in enumerate(TEXTS)])
    catalog = ParquetDataCatalog(tmp_path)

    catalog.write_data(heard)

    back = [custom.data for custom in catalog.query(InstrumentSentiment)]
    assert back == heard
    np.testing.assert_array_equal([each.score for each in back], [each.score for each in heard])


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
def test_settings_that_make_no_sense_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        SentimentActorConfig(**{"url": "mar:sentiment.mar", "instrument_ids": ids(SIM), **wrong})
