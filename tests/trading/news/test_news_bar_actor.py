"""The news bar actor: headlines sent with each window, unreadable headlines, and models of other inputs."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bar_support import MINUTE, market, ohlcv, reverse_split
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import BarType
from news_support import ELSEWHERE, ETH, SIM, TEXTS, UNREADABLE, as_data, headline, ids, run_actor

from nautilus_torchserve.features.bar import bar_columns, window_ends, windows
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.serving.client.client import PredictionResponse, connect
from nautilus_torchserve.serving.client.in_process import InProcessClient
from nautilus_torchserve.trading.backtest.bars.catalog import bar_objects
from nautilus_torchserve.trading.bars.actor import BarInferenceActor, BarInferenceActorConfig
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.instruments import perpetual
from nautilus_torchserve.trading.news.actor import NewsBarActor, NewsBarActorConfig
from nautilus_torchserve.trading.prediction import Prediction, prediction_topic
from nautilus_torchserve.wire.errors import RequestError, SchemaMismatch
from nautilus_torchserve.wire.news_windows import NewsWindow

MAX_AGE = 5 * MINUTE
MAX_TEXTS = 3
COUNT = 100
"""Bars of a market: 41 whole windows, the last of whose predictions never arrives."""


@dataclass
class SentNewsRequests:
    """Requests to ensembles."""

    accepted: list[list[NewsWindow]] = field(default_factory=list)
    refused: list[list[NewsWindow]] = field(default_factory=list)


@pytest.fixture
def sent_requests(monkeypatch: pytest.MonkeyPatch) -> SentNewsRequests:
    """Record every request to in-process clients."""
    recorded = SentNewsRequests()
    predict = InProcessClient.predict

    def recording_predict(
        client: InProcessClient, inputs: list[NewsWindow], deadline_ns: int | None = None
    ) -> PredictionResponse:
        try:
            response = predict(client, inputs, deadline_ns)
        except RequestError:
            recorded.refused.append(inputs)
            raise
        recorded.accepted.append(inputs)
        return response

    monkeypatch.setattr(InProcessClient, "predict", recording_predict)
    return recorded


def bar_type(bars: Bars) -> BarType:
    return BarType.from_str(f"{bars.instrument.instrument_id}-1-MINUTE-LAST-EXTERNAL")


def run(
    archive: Path, markets: list[Bars], headlines: list[Headline], news_first: bool = True, **changes: Any
) -> tuple[NewsBarActor, list[Prediction]]:
    """The actor, and what it published."""
    settings = {"max_news_age_ns": MAX_AGE, "max_texts": MAX_TEXTS, "max_gap_ns": MINUTE, **changes}
    types = [bar_type(bars) for bars in markets]
    actor = NewsBarActor(NewsBarActorConfig(bar_types=types, url=f"mar:{archive}", **settings))
    data: list[list[Data]] = [bar_objects(bars, each) for bars, each in zip(markets, types, strict=True)]
    news = [as_data(headlines)] if headlines else []
    return actor, run_actor(
        actor,
        [perpetual(bars.instrument, fee_bps=0.0) for bars in markets],
        [*news, *data] if news_first else [*data, *news],
        [prediction_topic(each.instrument_id) for each in types],
    )


def expected_headlines(headlines: list[Headline], name: str, bar_ns: int) -> list[Headline]:
    """Return the headlines that the rule selects for a bar."""
    known = [each for each in headlines if name in each.instrument_ids and each.ts_init < bar_ns]
    return [each for each in known if bar_ns - each.ts_init <= MAX_AGE][-MAX_TEXTS:]


def around_closes(bars: Bars) -> list[Headline]:
    """Headlines at and around the closes of bars and of their ages' ends, some of them many at once."""
    close = bars.ts_event
    exact = [int(close[at]) + shift for at in (61, 70, 80, 81, 90) for shift in (-1, 0, 1)]
    old = [int(close[at]) - MAX_AGE + shift for at in (66, 76) for shift in (-1, 0, 1)]
    crowd = [int(close[85]) + 7] * 5
    times = sorted([*exact, *old, *crowd])
    about = ((SIM,), (ETH,), (SIM, ETH), (SIM,), (ELSEWHERE,), (ETH, ELSEWHERE), (SIM,))
    return [headline(TEXTS[at % 6], time, *about[at % 7]) for at, time in enumerate(times)]


@pytest.mark.parametrize("news_first", [True, False])
def test_each_window_is_sent_with_the_headlines_received_before_its_bar(
    news_first: bool, news_archives: dict[str, Path], sent_requests: SentNewsRequests
) -> None:
    markets = [market("SIMUSD", COUNT), market("ETHUSD", COUNT, seed=2)]
    headlines = around_closes(markets[0])

    actor, published = run(news_archives["ensemble"], markets, headlines, news_first)

    assert [len(request) for request in sent_requests.accepted] == [2] * 41
    assert sent_requests.refused == []
    for row, bars in enumerate(markets):
        name = bars.instrument.instrument_id
        ends = window_ends(bars.ts_event, MINUTE, 60)
        rows = windows(bar_columns(ohlcv(bars)), ends)
        counts = Counter()
        for request, end, window in zip(sent_requests.accepted, ends, rows, strict=True):
            expected = expected_headlines(headlines, name, int(bars.ts_event[end]))
            sent = request[row]
            assert sent.texts == tuple(each.text for each in expected)
            assert sent.ages_s == tuple((int(bars.ts_event[end]) - each.ts_init) / 1e9 for each in expected)
            np.testing.assert_array_equal(sent.window, window)
            counts[len(expected)] += 1
        assert set(counts) == {0, 1, 2, 3}
        assert actor.headlines[ids(name)[0]] == sum(name in each.instrument_ids for each in headlines)
    with connect(f"mar:{news_archives['ensemble']}", "ensemble") as client:
        responses = [client.predict(request).outputs for request in sent_requests.accepted[:40]]
    for row, bars in enumerate(markets):
        about_instrument = [
            prediction for prediction in published if prediction.instrument_id == bar_type(bars).instrument_id
        ]
        assert [prediction.outputs for prediction in about_instrument] == [
            {name: values.item(row) for name, values in response.items()} for response in responses
        ]
        assert [prediction.ts_init - prediction.ts_event for prediction in about_instrument] == [10_000_000] * 40


def test_headlines_that_cannot_be_read_cost_no_window_its_prediction_or_its_other_news(
    news_archives: dict[str, Path], sent_requests: SentNewsRequests
) -> None:
    markets = [market("SIMUSD", COUNT), market("ETHUSD", COUNT, seed=2)]
    close = markets[0].ts_event
    readable = [headline(text, int(close[at]) + 5, SIM, ETH) for text, at in zip(TEXTS, range(60, 72, 2), strict=True)]
    bad = {UNREADABLE: 63, 2 * UNREADABLE: 66, "Прибыль выросла": 66, "profit " * 40_000: 66, f"{UNREADABLE}!": 66}
    spoilt = [headline(text, int(close[at]) + 6, SIM) for text, at in bad.items()]

    actor, published = run(
        news_archives["ensemble"], markets, sorted([*readable, *spoilt], key=lambda each: each.ts_init)
    )

    sim, eth = ids(SIM, ETH)
    assert actor.unreadable == {sim: [each.ts_init for each in spoilt], eth: []}
    assert actor.news_counts(sim).unread == 5
    assert actor.news_counts(sim).last_refusal.startswith(("BadText: ", "BodyTooLarge: "))
    assert (actor.failed, actor.gave_up) == ({sim: [], eth: []}, False)
    refused = len(sent_requests.refused)
    assert refused == 2 * (1 + 1) + 5  # a request for two bars, then one each, then one per headline
    _, without = run(news_archives["ensemble"], markets, readable)
    assert [prediction.outputs for prediction in published] == [prediction.outputs for prediction in without]
    assert len(published) == 80


def test_newest_headlines_are_sent_if_all_together_are_too_long(news_archives: dict[str, Path]) -> None:
    bars = market(count=64)
    close = int(bars.ts_event[61])
    long = [headline("profit " * 20_000, close + at) for at in (1, 2)]

    actor, published = run(news_archives["ensemble"], [bars], [*long, headline(TEXTS[0], close + 3)])

    assert [prediction.outputs["texts"] for prediction in published] == [0, 0, 0, 2]
    assert actor.news_counts(ids(SIM)[0]).unread == 0


def test_bad_window_fails_alone_even_with_news(news_archives: dict[str, Path]) -> None:
    markets = [market("SIMUSD", COUNT), reverse_split(market("ETHUSD", COUNT, seed=2), 60)]
    close = int(markets[0].ts_event[60])
    news = [headline(TEXTS[0], close + 1, SIM, ETH), headline(UNREADABLE, close + 2, SIM, ETH)]

    actor, published = run(news_archives["ensemble"], markets, news)

    sim, eth = ids(SIM, ETH)
    assert {name: len(bars) for name, bars in actor.refused_rows.items()} == {sim: 0, eth: COUNT - 60}
    assert (actor.failed, actor.gave_up) == ({sim: [], eth: []}, False)
    assert Counter(prediction.instrument_id for prediction in published) == {sim: 40, eth: 1}
    assert [prediction.outputs["texts"] for prediction in published if prediction.instrument_id == sim][:3] == [0, 0, 1]


def test_models_of_other_inputs_are_refused_at_the_start(news_archives: dict[str, Path]) -> None:
    bars = market(count=61)
    plain = BarInferenceActor(
        BarInferenceActorConfig(
            bar_types=[bar_type(bars)], url=f"mar:{news_archives['ensemble']}", model="ensemble", max_gap_ns=MINUTE
        )
    )

    with pytest.raises(SchemaMismatch, match="expected a model that takes rows, got one of windows and texts"):
        run_actor(plain, [perpetual(bars.instrument, fee_bps=0.0)], [bar_objects(bars, bar_type(bars))], [])
    with pytest.raises(SchemaMismatch, match="expected a model that takes windows and texts, got one of rows"):
        run(news_archives["price"], [bars], [], model="price")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_news_age_ns": 0}, "expected max_news_age_ns of at least 1, got 0"),
        ({"max_texts": 0}, "expected max_texts of 1 to 1024, got 0"),
        ({"max_texts": 1025}, "expected max_texts of 1 to 1024, got 1025"),
        ({"bar_types": []}, "expected bar_types of at least 1 instrument, got none"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict, message: str) -> None:
    settings = {"bar_types": [bar_type(market(count=1))], "max_news_age_ns": 1, "max_texts": 1, **wrong}
    with pytest.raises(BadSetting, match=message):
        NewsBarActorConfig(url="mar:ensemble.mar", max_gap_ns=MINUTE, **settings)
