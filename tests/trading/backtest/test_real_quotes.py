"""Backtests on trades whose orders meet the venue's own quotes: which ones, of which period, and what the page says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData, Instrument, Trades
from nautilus_torchserve.trading.backtest.quoted import within_quotes
from nautilus_torchserve.trading.backtest.report import report_data, summary
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.backtest.tick.market import TradesAndQuotes, with_quotes
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.instruments.instruments import perpetual, write_catalog
from support import PROJECT

MS = 10**6
DATA = PROJECT.parent / "shared/data"


def quotes_around(trades: Trades, first: int = 0, stop: int | None = None) -> Quotes:
    """Quotes 1 ms before some of the trades, received 2 ms later; four steps wide, so that no trade implies them."""
    part = trades.between(first, len(trades) if stop is None else stop)
    size = np.full(len(part), 10**9)
    ts_event = part.ts_event - MS
    return Quotes(
        part.instrument, "quotes.csv", ts_event, ts_event + 2 * MS, part.price - 2, part.price + 2, size, size
    )


def steps_worse(result: BacktestResult, quotes: Quotes) -> np.ndarray:
    """By how many price steps each fill was worse than the quote in force at the venue."""
    fills = result.fills
    last = np.searchsorted(quotes.ts_event, fills["ts_ns"].to_numpy(), side="right") - 1
    price = np.round(fills["price"].to_numpy() * 10**quotes.instrument.price_precision).astype(np.int64)
    return np.where(fills["side"] == "BUY", price - quotes.ask_price[last], quotes.bid_price[last] - price)


def test_orders_meet_the_venues_quotes_inline_and_prefetched(market: Trades, settings: BacktestSettings) -> None:
    trades = market.between(0, 500)
    quotes = quotes_around(trades)

    inline = run_backtest(TradesAndQuotes(trades, quotes), settings)
    prefetched = run_backtest(TradesAndQuotes(trades, quotes), replace(settings, mode="prefetch"))

    assert len(inline.fills) > 10
    assert set(steps_worse(inline, quotes)) == {1}
    pd.testing.assert_frame_equal(inline.fills, prefetched.fills, check_exact=True)
    assert inline.account.pnl == prefetched.account.pnl != run_backtest(trades, settings).account.pnl


def test_the_page_says_which_quotes_were_met(market: Trades, settings: BacktestSettings) -> None:
    trades, prefetch = market.between(0, 400), replace(settings, mode="prefetch")
    implied, real_quotes = run_backtest(trades, prefetch), quotes_around(trades, 100, 300)
    real = run_backtest(TradesAndQuotes(within_quotes(trades, real_quotes), real_quotes), prefetch)

    of_implied, of_real = (report_data(prefetch, result, result.instruments[0]) for result in (implied, real))

    assert of_implied.data["Quotes"] == "implied by the trades"
    assert summary(prefetch, implied)["quotes"] == 0
    assert of_real.data["Quotes"].startswith("199 of quotes.csv, 20")  # the last quote's period holds no further trade
    assert summary(prefetch, real)["quotes"] == 199
    assert any(
        "201 of 400 trades were left out, 100 before and 101 after the quotes of" in note for note in of_real.notes
    )
    assert any("the oldest that a trade met was 1ms old. 100.0% of the trades" in note for note in of_real.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"instrument": Instrument("ETHUSD", "SIM", 2, 3)},
            r"expected quotes of SIMUSD.SIM, as the trades, got ETHUSD",
        ),
        (
            {"ts_event": np.arange(3), "ts_init": np.arange(3)},
            r"expected quotes of the time of the trades, 20.* got some",
        ),
    ],
)
def test_quotes_of_something_else_are_refused(market: Trades, change: dict, message: str) -> None:
    with pytest.raises(BadData, match=message):
        within_quotes(market, replace(quotes_around(market, 0, 3), **change))


def test_a_catalogs_quotes_are_the_venues_unless_its_trades_imply_them(market: Trades, tmp_path: Path) -> None:
    trades = market.between(0, 50)
    quotes = quotes_around(trades)
    write_catalog(trades, perpetual(trades.instrument), tmp_path, quotes)

    loaded = with_quotes(load(tmp_path, 0, 1), None)

    assert isinstance(loaded, TradesAndQuotes)
    for name in ("ts_event", "ts_init", "bid_price", "ask_price", "bid_size", "ask_size"):
        np.testing.assert_array_equal(getattr(loaded.quotes, name), getattr(quotes, name))
    assert with_quotes(trades, None) is trades
    write_catalog(trades, perpetual(trades.instrument), tmp_path / "implied")
    of_trades = with_quotes(load(tmp_path / "implied", 0, 1), None)
    assert isinstance(of_trades, Trades)
    assert any("its quotes are implied by its trades" in note for note in of_trades.notes)
    with pytest.raises(BadData, match=r"expected a NautilusTrader catalog with quotes of ETHUSD.SIM, got none"):
        with_quotes(replace(trades, instrument=Instrument("ETHUSD", "SIM", 2, 3), simulated=False), tmp_path)
    with pytest.raises(BadData, match=r"expected quotes of recorded trades .* got simulated"):
        with_quotes(trades, Path(__file__))


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the recorded quotes, which are not distributed")
def test_recorded_trades_meet_recorded_quotes(settings: BacktestSettings) -> None:
    trades, file = load(DATA / "btcusdt_perp_trades_2020-02-22.csv", 0, 1), DATA / "btcusdt_perp_quotes_2020-02-22.csv"

    result = run_backtest(with_quotes(trades, file), replace(settings, mode="prefetch"))

    assert len(result.fills) > 10
    assert set(steps_worse(result, load_quotes(file))) <= {1, 2}
    assert result.instruments[0].data.ts_event[-1] <= load_quotes(file).ts_event[-1]
