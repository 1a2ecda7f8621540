"""The demo's headlines, and a market that they move once they have been received, and not before."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.checks import check_bars
from nautilus_torchserve.market.bars.simulator import MINUTE_NS, BarSimulatorConfig, simulate_bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.market.news.load import DEMO_HEADLINES
from nautilus_torchserve.market.news.simulator import (
    SIGNS,
    LabelledText,
    NewsSimulatorConfig,
    load_labelled_texts,
    simulate_news,
)
from nautilus_torchserve.market.trades.simulator import START_NS
from nautilus_torchserve.market.trades.trades import BadData, Instrument
from nautilus_torchserve.training.sentiment.data import CORPUS
from nautilus_torchserve.training.sentiment.news_corpus import load_corpus

DEMO = DEMO_HEADLINES
TEXTS = tuple(LabelledText(label, f"{label} news") for label in SIGNS)


def receipt_bars(bars: Bars, headlines: list[Headline]) -> np.ndarray:
    """Position of the bar that each headline is received in [n]."""
    return np.searchsorted(bars.ts_event, [headline.ts_init for headline in headlines])


def test_the_demos_headlines_are_enough_balanced_and_about_the_coin() -> None:
    texts = load_labelled_texts(DEMO)

    assert len(texts) >= 150
    assert set(Counter(text.label for text in texts).values()) == {len(texts) // 3}
    assert len({text.text.lower() for text in texts}) == len(texts)
    assert all("sim" in text.text.lower() or "foundation" in text.text.lower() for text in texts)


def test_no_model_was_trained_on_the_demos_headlines() -> None:
    corpus = load_corpus(CORPUS)
    known = {" ".join(each.text.lower().split()) for each in corpus.train + corpus.held_out}

    assert not known & {" ".join(each.text.lower().split()) for each in load_labelled_texts(DEMO)}


def test_the_seed_decides() -> None:
    first, again, other = (simulate_news(500, TEXTS, seed) for seed in (3, 3, 4))

    assert (first[0].sha256, first[1]) == (again[0].sha256, again[1])
    assert first[0].sha256 != other[0].sha256
    assert first[1] != other[1]


def test_simulated_bars_and_headlines_are_marked_as_simulated() -> None:
    bars, headlines = simulate_news(500, TEXTS, 7, instrument=Instrument("ABC", "XYZ", 2, 0))

    assert check_bars(bars).simulated
    assert bars.source == "simulated bars with simulated news (seed 7)"
    assert {(headline.source, headline.instrument_ids) for headline in headlines} == {("simulated", ("ABC.XYZ",))}


@settings(max_examples=40)
@given(
    st.integers(1, 300),
    st.integers(0, 2**32),
    st.floats(0.05, 50),
    st.sampled_from([1, 10**9, MINUTE_NS - 1, MINUTE_NS, MINUTE_NS + 1, 5 * MINUTE_NS]),
)
def test_a_headline_is_received_between_two_closes_of_the_market(
    count: int, seed: int, mean_bars: float, delay_ns: int
) -> None:
    config = NewsSimulatorConfig(mean_bars_between=mean_bars, delay_ns=delay_ns)

    bars, headlines = simulate_news(count, TEXTS, seed, config)

    received = [headline.ts_init for headline in headlines]
    assert received == sorted(received)
    assert all(headline.ts_init - headline.ts_event == delay_ns for headline in headlines)
    assert all(headline.ts_event > START_NS and headline.ts_init < bars.ts_event[-1] for headline in headlines)
    assert not set(bars.ts_event.tolist()) & {
        time for headline in headlines for time in (headline.ts_event, headline.ts_init)
    }


def test_arrivals_are_poisson() -> None:
    bars, headlines = simulate_news(200_000, TEXTS, 1, NewsSimulatorConfig(mean_bars_between=10.0))

    gaps = np.diff([headline.ts_event for headline in headlines]) / bars.interval_ns

    assert gaps.mean() == pytest.approx(10, rel=0.03)
    assert gaps.std() == pytest.approx(10, rel=0.05)
    assert np.median(gaps) == pytest.approx(10 * np.log(2), rel=0.05)


@settings(max_examples=50)
@given(st.integers(1, 200), st.integers(0, 2**32), st.integers(0, 40))
def test_bars_opened_before_a_headlines_receipt_do_not_react_to_it(count: int, seed: int, cut: int) -> None:
    texts = [LabelledText("positive" if number % 2 else "neutral", str(number)) for number in range(1_000)]
    config = NewsSimulatorConfig(mean_bars_between=4.0, impact_bps=500.0)
    bars, headlines = simulate_news(count, texts, seed, config)
    changed = {headline.text for headline in headlines[cut:]} - {headline.text for headline in headlines[:cut]}

    otherwise = [replace(text, label="negative") if text.text in changed else text for text in texts]
    other, same = simulate_news(count, otherwise, seed, config)

    places = zip(receipt_bars(bars, headlines), headlines, strict=True)
    moved = [place for place, each in places if each.text in changed]
    until = int(moved[0]) + 1 if moved else count
    assert same == headlines
    for name in (*PRICES, "volume"):
        np.testing.assert_array_equal(getattr(bars, name)[:until], getattr(other, name)[:until])
    assert (other.close[until : until + 1] < bars.close[until : until + 1]).all()


def test_the_reaction_is_as_large_and_decays_as_configured() -> None:
    config = NewsSimulatorConfig(mean_bars_between=200.0, impact_bps=40.0, reaction_bars=4, decay=0.5)
    bars, headlines = simulate_news(20_000, TEXTS, 5, config, Instrument("X", "Y", 8, 0))
    without = simulate_bars(20_000, 5, instrument=Instrument("X", "Y", 8, 0))

    added = 1e4 * np.diff(np.log(bars.prices()) - np.log(without.prices()), prepend=0.0)

    expected = np.zeros(len(bars) + 10)
    for place, headline in zip(receipt_bars(bars, headlines), headlines, strict=True):
        sign = SIGNS[headline.text.split()[0]]
        expected[place + 1 : place + 5] += sign * 40 * np.array([8, 4, 2, 1]) / 15
    np.testing.assert_allclose(added, expected[: len(bars)], atol=1e-6)


def test_without_impact_the_market_is_the_one_without_news() -> None:
    bars, headlines = simulate_news(2_000, TEXTS, 9, NewsSimulatorConfig(impact_bps=0.0))

    assert len(headlines) > 50
    assert bars.sha256 == simulate_bars(2_000, 9).sha256


def test_longer_bars_have_their_news_too() -> None:
    config = NewsSimulatorConfig(bars=BarSimulatorConfig(interval_ns=60 * MINUTE_NS), mean_bars_between=2.0)

    bars, headlines = simulate_news(2_000, TEXTS, 1, config)

    assert bars.interval_ns == 60 * MINUTE_NS
    assert len(headlines) == pytest.approx(1_000, rel=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean_bars_between": 0.0}, "expected mean_bars_between above 0, got 0.0"),
        ({"delay_ns": 0}, r"expected delay_ns of at least 1 \(nothing is known at once\), got 0"),
        ({"reaction_bars": 0}, "expected reaction_bars of at least 1, got 0"),
        ({"impact_bps": float("nan")}, "expected impact_bps of at least 0, got nan"),
        ({"decay": 1.5}, "expected decay above 0 and at most 1, got 1.5"),
    ],
)
def test_invalid_news_config_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NewsSimulatorConfig(**change)


def test_nothing_cannot_be_simulated() -> None:
    with pytest.raises(ValueError, match="expected at least 1 bar and 1 text, got 0 and 3"):
        simulate_news(0, TEXTS)
    with pytest.raises(ValueError, match="expected at least 1 bar and 1 text, got 10 and 0"):
        simulate_news(10, ())


@pytest.mark.parametrize("drift", [np.zeros(9), np.full(10, np.nan), np.zeros((10, 1))])
def test_a_drift_fits_its_bars(drift: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected a finite drift for each of 10 bars"):
        simulate_bars(10, drift=drift)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected at least one labelled headline, got none"),
        ("label,text\n", "expected at least one labelled headline, got none"),
        ("text,label\nUp,positive\n", r"line 1: expected a header of label,text, got \['text', 'label'\]"),
        ("label,text\npositive,Up\ngood,Up\n", "line 3: expected label negative or neutral or positive, got 'good'"),
        ("label,text\npositive, \n", "line 2: expected a headline's text, got ' '"),
        ("label,text\npositive,Up, and away\n", "line 2: expected 2 cells, got"),
    ],
)
def test_labelled_headlines_that_cannot_be_read_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "texts.csv"
    path.write_text(content)

    with pytest.raises(BadData, match=message):
        load_labelled_texts(path)
