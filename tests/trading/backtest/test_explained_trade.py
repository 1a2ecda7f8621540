"""Past trades: each is kept with the exact input of its prediction, and explained by that model only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bar_support import market as bar_market
from bar_support import ohlcv, without
from news_support import ETH, SIM, TEXTS, headline

from nautilus_torchserve.features.bar import TIME_STEPS, bar_columns
from nautilus_torchserve.features.tick import tick_features
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.reporting.backtest.trade_log import PastTrade, TradeLog, read_trades
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.explain import OtherArchive, explain_best, explain_trade
from nautilus_torchserve.trading.backtest.news.market import BarsAndNews, NewsBacktestSettings
from nautilus_torchserve.trading.backtest.report import report_data, write_reports
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.wire.news_windows import NewsWindow


@pytest.fixture(scope="module")
def ticks(market: Trades, settings: BacktestSettings) -> BacktestResult:
    return run_backtest(market, settings)


@pytest.fixture(scope="module")
def log(settings: BacktestSettings, ticks: BacktestResult) -> TradeLog:
    trade_log = report_data(settings, ticks, ticks.instruments[0]).log
    assert trade_log is not None
    return trade_log


def test_each_trade_of_ticks_has_the_row_of_its_own_prediction(market: Trades, ticks: BacktestResult) -> None:
    trades = ticks.instruments[0].data
    assert trades.instrument.instrument_id == market.instrument.instrument_id
    rows = tick_features(trades.price, trades.size, trades.side, trades.ts_event)
    predictions = ticks.predictions
    assert len(ticks.past_trades) == ticks.positions > 10
    for trade in ticks.past_trades:
        (at,) = np.flatnonzero(
            (predictions["ts_event"] == trade.feature_ts)
            & (predictions["ts_init"] == trade.ts_opened)
            & np.all([predictions[name] == np.float32(value) for name, value in trade.outputs.items()], axis=0)
        )
        assert trade.row.tobytes() == rows[predictions["trade"].iloc[at]].tobytes()
        assert max(trade.outputs, key=trade.outputs.__getitem__).upper() == trade.side


def test_gains_of_trades_sum_to_the_gain_of_the_account(settings: BacktestSettings, ticks: BacktestResult) -> None:
    gained = sum(trade.pnl for trade in ticks.past_trades)

    assert gained == pytest.approx(ticks.balance - float(settings.starting_balance), abs=1e-8)


def windows_of(bars: Bars, trade: PastTrade) -> np.ndarray:
    end = int(np.searchsorted(bars.ts_event, trade.feature_ts)) + 1
    return bar_columns(ohlcv(bars))[end - TIME_STEPS : end]


def test_each_trade_of_bars_has_the_window_of_its_own_prediction(bar_settings: BarBacktestSettings) -> None:
    pair = [without(bar_market("BTCUSDT"), 150, 153), bar_market("ETHUSDT", seed=2)]

    result = run_backtest(pair, bar_settings)

    for bars, instrument in zip(pair, result.instruments, strict=True):
        assert len(instrument.past_trades) == instrument.positions > 10
        for trade in instrument.past_trades:
            assert trade.row.tobytes() == windows_of(bars, trade).tobytes()
            assert trade.side == ("BUY" if trade.outputs["return_bps"] > 0 else "SELL")


def test_each_trade_on_news_has_the_headlines_of_its_request(news_archives: dict[str, Path]) -> None:
    url = f"mar:{news_archives['ensemble']}"
    pair = [bar_market("SIMUSD", 130), bar_market("ETHUSD", 130, seed=2)]
    first = pair[0].ts_event
    news = [headline(TEXTS[at % 6], int(first[at]) + 7, (SIM, ETH)[at % 2]) for at in range(55, 125, 5)]

    result = run_backtest(BarsAndNews(pair, news), NewsBacktestSettings(url=url, min_confidence=0.5, cost_bps=0.0))

    trades = [
        (bars, trade)
        for bars, instrument in zip(pair, result.instruments, strict=True)
        for trade in instrument.past_trades
    ]
    assert any(trade.texts for _, trade in trades)
    with connect(url, "ensemble") as client:
        for bars, trade in trades:
            assert trade.row.tobytes() == windows_of(bars, trade).tobytes()
            again = client.predict([NewsWindow(trade.row, trade.texts, trade.ages_s)])
            assert {name: float(values[0]) for name, values in again.outputs.items()} == trade.outputs


def test_the_trades_own_archive_explains_it(log: TradeLog) -> None:
    trade = log.trades[3]

    explained = explain_trade(log, trade)

    assert (explained["version"], explained["archive_digest"]) == (log.version, log.archive_digest)
    assert explained["trade"]["number"] == 4
    explanation = explained["explanation"]
    assert explanation["output"] == trade.side.lower()
    assert explanation["value"] == pytest.approx(trade.outputs[trade.side.lower()], rel=1e-4)
    assert [each["value"] for each in explanation["features"]] == pytest.approx(trade.row.tolist())


def test_another_archive_is_refused_unless_any_version_is_allowed(log: TradeLog, tick_archive: Path) -> None:
    url = f"mar:{tick_archive}"

    with pytest.raises(OtherArchive, match=f"expected archive {log.archive_digest[:12]}, whose prediction was"):
        explain_trade(log, log.trades[0], url)
    explained = explain_trade(log, log.trades[0], url, any_version=True)

    assert explained["archive_digest"] != log.archive_digest
    assert explained["explanation"]["complete"]


def test_best_trade_is_explained_or_the_reason_is_given(settings: BacktestSettings, log: TradeLog) -> None:
    explained = explain_best(settings, log)
    unavailable = explain_best(settings, replace(log, url="http://127.0.0.1:9"))

    assert not isinstance(explained, str)
    assert explained["trade"]["pnl"] == max(trade.pnl for trade in log.trades)
    assert isinstance(unavailable, str)
    assert unavailable.startswith(f"Trade {explained['trade']['number']} could not be explained: Unavailable: ")
    assert explain_best(settings, replace(log, trades=())) == (
        "No position was closed, so there is no trade to explain."
    )


def test_report_is_written_with_its_trades_without_an_explanation(
    settings: BacktestSettings, ticks: BacktestResult, tmp_path: Path
) -> None:
    page = write_reports(replace(settings, url="http://127.0.0.1:9"), ticks, tmp_path)

    assert "could not be explained: Unavailable" in page.read_text()
    assert len(read_trades(tmp_path).trades) == ticks.positions


def test_a_bar_report_explains_its_best_trade(bar_settings: BarBacktestSettings, tmp_path: Path) -> None:
    result = run_backtest([bar_market(count=120)], bar_settings)

    page = write_reports(bar_settings, result, tmp_path).read_text()

    best = read_trades(tmp_path).best()
    assert best is not None
    assert f"Trade {best.number}, the most profitable" in page
    assert 'id="explanation"' in page
    data = report_data(bar_settings, result, result.instruments[0])
    assert data.explained is None
