"""Whole backtests on bars and news: no look-ahead, no news no difference, and the report on it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bar_support import market
from news_support import ELSEWHERE, ETH, SIM, TEXTS, UNREADABLE, headline

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.news.market import BarsAndNews, NewsBacktestSettings
from nautilus_torchserve.trading.backtest.report import report_data, summary, write_reports
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.wire.errors import SchemaMismatch

HOUR = 3600 * 10**9
FORECAST = ["ts_event", "ts_init", "price", "return_bps", "sigma_bps", "confidence"]


@pytest.fixture(scope="module")
def pair() -> list[Bars]:
    return [market("SIMUSD", 130), market("ETHUSD", 130, seed=2)]


@pytest.fixture(scope="module")
def news(pair: list[Bars]) -> list[Headline]:
    """A headline per four bars, those on both instruments among them, some on others, and one that cannot be read."""
    random = np.random.default_rng(3)
    times = np.sort(random.integers(pair[0].ts_event[0], pair[0].ts_event[-1], 40)).tolist()
    about = [((SIM,), (ETH,), (SIM, ETH), (ELSEWHERE,))[at] for at in random.integers(0, 4, 40)]
    news = [headline(TEXTS[at % 6], time, *names) for at, (time, names) in enumerate(zip(times, about, strict=True))]
    news[20] = replace(news[20], text=UNREADABLE, instrument_ids=(SIM,))
    return news


@pytest.fixture(scope="module")
def news_settings(news_archives: dict[str, Path]) -> NewsBacktestSettings:
    return NewsBacktestSettings(url=f"mar:{news_archives['ensemble']}", min_confidence=0.5)


@pytest.fixture(scope="module")
def whole(pair: list[Bars], news: list[Headline], news_settings: NewsBacktestSettings) -> BacktestResult:
    return run_backtest(BarsAndNews(pair, news), news_settings)


@pytest.fixture(scope="module")
def without_news(pair: list[Bars], news_settings: NewsBacktestSettings) -> BacktestResult:
    """The same without news."""
    return run_backtest(BarsAndNews(pair, []), news_settings)


def until(table: pd.DataFrame, column: str, last_ns: int) -> pd.DataFrame:
    """Rows up to a time, without the measured latency."""
    return table[table[column] <= last_ns].drop(columns="latency_ns", errors="ignore")


def least_position(fills: pd.DataFrame, since_ns: int) -> float:
    """The smallest one that a fill then or later leaves, in steps of a thousandth."""
    held = np.where(fills["side"] == "BUY", 1, -1) * fills["quantity"].to_numpy()
    return float(np.round(np.cumsum(held), 3)[fills["ts_ns"].to_numpy() >= since_ns].min())


def test_news_that_comes_later_changes_no_earlier_prediction_or_order(
    whole: BacktestResult, pair: list[Bars], news: list[Headline], news_settings: NewsBacktestSettings
) -> None:
    last_ns = int(pair[0].ts_event[110])
    later = [item for item in news if item.ts_init > last_ns]
    past = [item for item in news if item.ts_init <= last_ns]
    rewritten = [replace(each, text=TEXTS[0], instrument_ids=(SIM, ETH)) for each in later]

    for changed in (past, [*past, *rewritten]):
        run = run_backtest(BarsAndNews(pair, changed), news_settings)
        for changed_result, expected in zip(run.instruments, whole.instruments, strict=True):
            for name, column in (("predictions", "ts_init"), ("fills", "ts_ns")):
                one, other = (
                    until(getattr(each, name), column, last_ns + 10_000_000) for each in (changed_result, expected)
                )
                pd.testing.assert_frame_equal(one, other)
                assert len(other) > 5
            assert not changed_result.predictions["return_bps"].equals(expected.predictions["return_bps"])
    assert len(later) > 3


@pytest.mark.parametrize("minutes_later", [0, 30])
def test_news_counts_from_its_receipt_on_not_from_its_publication(
    minutes_later: int, pair: list[Bars], news_settings: NewsBacktestSettings, without_news: BacktestResult
) -> None:
    bars = pair[0]
    published = int(bars.ts_event[80]) + 5
    received = published + minutes_later * 60 * 10**9
    one = Headline(TEXTS[0], "", (SIM,), published, received)

    (with_it,) = run_backtest(BarsAndNews([bars], [one]), news_settings).instruments

    without = without_news.instruments[0]
    differs = (with_it.predictions["return_bps"] != without.predictions["return_bps"]).to_numpy()
    known = (with_it.predictions["ts_event"] > received).to_numpy()
    np.testing.assert_array_equal(differs, known)
    np.testing.assert_array_equal(with_it.predictions["texts"], known)
    assert with_it.predictions["ts_event"][known].iloc[0] == bars.ts_event[81 + minutes_later]


def test_without_news_all_is_as_with_the_price_model_alone(
    without_news: BacktestResult, pair: list[Bars], news_settings: NewsBacktestSettings, news_archives: dict[str, Path]
) -> None:
    alone = BarBacktestSettings(url=f"mar:{news_archives['price']}", min_confidence=0.5)

    plain = run_backtest(pair, alone)

    for one, other in zip(without_news.instruments, plain.instruments, strict=True):
        for name in FORECAST:
            np.testing.assert_array_equal(one.predictions[name], other.predictions[name])
        pd.testing.assert_frame_equal(one.fills, other.fills)
        assert len(one.fills) > 5
        assert one.news is not None
        assert one.news.headlines == 0
        assert other.news is None
    notes = report_data(news_settings, without_news, without_news.instruments[0]).notes
    assert any(note.startswith("NO HEADLINES on SIMUSD.SIM") for note in notes)


def test_news_moves_forecasts_and_orders(whole: BacktestResult, pair: list[Bars], news: list[Headline]) -> None:
    for instrument in whole.instruments:
        predictions, name = instrument.predictions, instrument.data.instrument.instrument_id
        close = predictions["ts_event"].to_numpy()
        ours = [one for one in news if name in one.instrument_ids]
        received = np.array([one.ts_init for one in ours if one.text != UNREADABLE])
        counted = (received < close[:, None]) & (close[:, None] - received <= 4 * HOUR)
        np.testing.assert_array_equal(predictions["texts"], np.minimum(counted.sum(axis=1), 8))
        moved = predictions["return_bps"] != predictions["price_return_bps"]
        assert moved.equals(predictions["texts"] > 0)
        assert instrument.news is not None
        assert instrument.news.headlines == len(ours)
    assert sum(len(instrument.fills) for instrument in whole.instruments) > 20


def test_headlines_of_other_times_are_left_out(pair: list[Bars], news_settings: NewsBacktestSettings) -> None:
    bars = pair[0].between(60, 130)
    first, last = int(bars.ts_event[0]), int(bars.ts_event[-1])
    too_old, too_late = first - 4 * HOUR - 1, last
    times = [too_old, too_old + 1, first - 1, last - 1, too_late]

    news = [*(headline(TEXTS[0], time) for time in times), headline(TEXTS[0], first, ELSEWHERE)]

    (result,) = run_backtest(BarsAndNews([bars], news), news_settings).instruments

    assert result.news is not None
    assert result.news.headlines == 3
    assert (result.not_arrived, len(result.predictions)) == (1, 10)  # no headline prolongs the market


def test_news_filters_forbid_entries(
    whole: BacktestResult, pair: list[Bars], news: list[Headline], news_settings: NewsBacktestSettings
) -> None:
    late = [item for item in news if item.ts_init > pair[0].ts_event[90]]

    careful = run_backtest(BarsAndNews(pair, late), replace(news_settings, require_news=True, veto_score=0.5))

    for instrument, free in zip(careful.instruments, whole.instruments, strict=True):
        first = instrument.predictions[instrument.predictions["texts"] > 0]["ts_init"].min()
        assert instrument.fills["ts_ns"].min() >= first > free.fills["ts_ns"].min()
        assert least_position(instrument.fills, first) == 0  # every text is good news to this model
    assert any(least_position(instrument.fills, int(pair[0].ts_event[90])) < 0 for instrument in whole.instruments)


def test_the_report_counts_the_news(whole: BacktestResult, news_settings: NewsBacktestSettings, tmp_path: Path) -> None:
    document = json.loads(write_reports(news_settings, whole, tmp_path).read_text())

    assert document == json.loads(json.dumps(summary(news_settings, whole)))
    first = whole.instruments[0]
    with_news = int((first.predictions["texts"] > 0).sum())
    assert (document["instruments"][0]["with_news"], document["instruments"][0]["headlines_unread"]) == (with_news, 1)
    assert document["headlines"] == sum(part["headlines"] for part in document["instruments"])
    page = (tmp_path / "SIMUSD.SIM" / "index.html").read_text()
    assert f"{with_news} of {len(first.predictions)}" in page
    assert "1 headlines could not be read and were skipped; the last error: BadText" in page
    data = report_data(news_settings, whole, first)
    assert any(note.startswith("A headline is sent with the bars received after it (ts_init)") for note in data.notes)


def test_a_model_that_reads_no_news_is_refused(
    pair: list[Bars], news_settings: NewsBacktestSettings, news_archives: dict[str, Path]
) -> None:
    with pytest.raises(SchemaMismatch, match="takes windows and texts, got one of rows"):
        run_backtest(BarsAndNews(pair, []), replace(news_settings, url=f"mar:{news_archives['price']}"))
