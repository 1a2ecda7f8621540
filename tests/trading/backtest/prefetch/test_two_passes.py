"""Prefetched runs of actors whose inputs only they know equal inline runs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from bar_support import market
from news_support import ETH, SIM, TEXTS, UNREADABLE, headline

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.news.headlines import Headline
from nautilus_torchserve.trading.backtest.news.market import BarsAndNews, NewsBacktestSettings
from nautilus_torchserve.trading.backtest.prefetch.two_passes import InputsDependOnPredictions
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import run_backtest


def assert_same(prefetched: BacktestResult, inline: BacktestResult) -> None:
    assert prefetched.balance == inline.balance
    for left, right in zip(prefetched.instruments, inline.instruments, strict=True):
        pd.testing.assert_frame_equal(left.fills, right.fills, check_exact=True)
        pd.testing.assert_frame_equal(
            left.predictions.drop(columns="latency_ns"), right.predictions.drop(columns="latency_ns"), check_exact=True
        )
        for name in ("orders", "failed", "refused", "not_arrived", "news"):
            assert getattr(left, name) == getattr(right, name), name


def headlines(pair: Sequence[Bars]) -> list[Headline]:
    times = pair[0].ts_event[70:110:4].tolist()
    return [headline(TEXTS[at % 6], time - 1, *((SIM,), (ETH,), (SIM, ETH))[at % 3]) for at, time in enumerate(times)]


def test_windows_with_news(news_archives: dict[str, Path]) -> None:
    settings = NewsBacktestSettings(url=f"mar:{news_archives['ensemble']}", min_confidence=0.5)
    pair = [market("SIMUSD", 110), market("ETHUSD", 110, seed=2)]
    data = BarsAndNews(pair, headlines(pair))

    inline, prefetched = run_backtest(data, settings), run_backtest(data, replace(settings, mode="prefetch"))

    assert_same(prefetched, inline)
    assert len(inline.fills) > 10


def test_actor_that_requests_something_else_after_a_refusal_is_refused(news_archives: dict[str, Path]) -> None:
    settings = NewsBacktestSettings(url=f"mar:{news_archives['ensemble']}", mode="prefetch")
    pair = [market("SIMUSD", 80), market("ETHUSD", 80, seed=2)]
    unreadable = [headline(UNREADABLE, int(pair[0].ts_event[70]) - 1, SIM)]

    with pytest.raises(InputsDependOnPredictions, match=r"requested only after them.*--mode inline runs such a model"):
        run_backtest(BarsAndNews(pair, unreadable), settings)
