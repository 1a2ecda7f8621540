"""Equity at every event, and what is computed from it, against a loop in exact arithmetic and pandas."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from contracts import CONTRACTS
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.reporting.backtest.thinning import BINS
from nautilus_torchserve.scores.account import (
    EQUITY_SESSIONS,
    EVERY_DAY,
    FUTURES_SESSIONS,
    FX_DAYS,
    MIN_DAYS,
    AccountHistory,
    drawdown,
    return_statistics,
    trade_statistics,
    widest,
)
from nautilus_torchserve.trading.backtest.equity import EquityPoints, MarkedMarket, calendar_of, equity_pieces, sum_up
from nautilus_torchserve.trading.backtest.ledger import Contract, Fill

START = Decimal(10_000)
HOUR = 3_600_000_000_000
MONDAY = 1_704_067_200_000_000_000  # 2024-01-01, UTC


class Step(NamedTuple):
    """An event some time after the last one, and what is bought after it, perhaps later."""

    wait: int
    price: int
    bought: int
    later: int


steps = st.lists(
    st.builds(Step, st.integers(0, 3), st.integers(50, 200), st.integers(-3, 3), st.integers(0, 4)),
    min_size=1, max_size=30,
)  # fmt: skip


def market_of(kind: str, some: list[Step]) -> MarkedMarket:
    """Fills happen at the price of the event before them, at a fee of one."""
    contract = Contract.of(CONTRACTS[kind])
    times = np.cumsum([step.wait for step in some])
    orders = [(int(ts) + step.later, at, step.bought) for at, (ts, step) in enumerate(zip(times, some, strict=True))]
    orders.sort(key=lambda order: order[0])
    fills: list[Fill] = []
    gain, held, before = Decimal(0), Decimal(0), Decimal(1)
    for ts, number, bought in orders:
        if not bought:
            continue
        price = Decimal(some[number].price)
        gain += held * contract.gain(before, price) - 1
        held, before = held + bought, price
        fills.append(Fill(ts, "BUY" if bought > 0 else "SELL", price, Decimal(abs(bought)), Decimal(1), held, gain))
    prices = np.array([float(step.price) for step in some])
    return MarkedMarket(times, lambda start, stop: prices[start:stop], contract, fills, Decimal(some[-1].price))


def slowly(markets: list[MarkedMarket]) -> list[tuple[int, float]]:
    """Time and equity, event by event and fill by fill."""
    events = [
        (int(ts), 0, number, float(market.prices(at, at + 1)[0]))
        for number, market in enumerate(markets)
        for at, ts in enumerate(market.ts_ns)
    ] + [(fill.ts_ns, 1, number, fill) for number, market in enumerate(markets) for fill in market.fills]
    last: dict[int, Decimal] = {}
    booked: dict[int, Fill] = {}
    points: list[tuple[int, float]] = []
    kinds: list[int] = []
    for ts, kind, number, what in sorted(events, key=lambda event: event[:3]):
        if kind:
            booked[number] = what
        else:
            last[number] = Decimal(what)
        equity = START
        for name, fill in booked.items():
            equity += fill.gain + fill.position * markets[name].contract.gain(fill.price, last[name])
        if kind and kinds and kinds[-1] and points[-1][0] == ts:
            points[-1] = (ts, float(equity))  # after all fills of a time
        else:
            points.append((ts, float(equity)))
            kinds.append(kind)
    return points


@given(st.lists(st.tuples(st.sampled_from(list(CONTRACTS)), steps), min_size=1, max_size=3), st.integers(1, 40))
def test_equity_is_that_of_a_loop_over_every_event_and_fill(kinds: list[tuple[str, list[Step]]], piece: int) -> None:
    markets = [market_of(kind, some) for kind, some in kinds]

    pieces = list(equity_pieces(markets, START, piece))

    expected = slowly(markets)
    assert np.concatenate([part.ts_ns for part in pieces]).tolist() == [ts for ts, _ in expected]
    np.testing.assert_allclose(
        np.concatenate([part.equity for part in pieces]), [equity for _, equity in expected], rtol=0, atol=1e-8
    )


waits = st.one_of(st.integers(1, HOUR), st.integers(8, 60).map(lambda hours: hours * HOUR))
curves = st.lists(st.tuples(waits, st.floats(-800, 800)), min_size=2, max_size=60)


def history_of(curve: list[tuple[int, float]], piece: int = 7, calendar=EVERY_DAY) -> AccountHistory:
    ts_ns, equity = arrays(curve)
    points = equity_points(ts_ns, equity, piece)
    end = Decimal(float(equity[-1]))
    return sum_up(points, START, end, Decimal(0), (int(ts_ns[0]), int(ts_ns[-1])), calendar)[0]


def arrays(curve: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    waits, gains = zip(*curve, strict=True)
    gains = (0.0, *gains[1:])  # nothing is held at the first event
    return MONDAY + np.cumsum(waits, dtype=np.int64), np.maximum(1.0, 10_000 + np.cumsum(gains))


def equity_points(ts_ns: np.ndarray, equity: np.ndarray, piece: int) -> Iterator[EquityPoints]:
    return (EquityPoints(ts_ns[at : at + piece], equity[at : at + piece]) for at in range(0, len(ts_ns), piece))


@settings(max_examples=50)
@given(curves, st.integers(1, 50))
def test_statistics_are_those_of_pandas_over_all_days(curve: list[tuple[int, float]], piece: int) -> None:
    history = history_of(curve, piece)

    series = pd.Series(arrays(curve)[1], index=pd.to_datetime(arrays(curve)[0]))
    days = series.resample("1D", closed="right", label="left").last().ffill()
    returns = pd.concat([pd.Series([10_000.0]), days]).pct_change().dropna()
    assert history.max_drawdown == pytest.approx((series - series.cummax()).min(), abs=1e-9)
    assert history.max_drawdown_share == pytest.approx((series / series.cummax() - 1).min(), abs=1e-12)
    np.testing.assert_allclose(history.daily_returns, returns, atol=1e-12)
    statistics = return_statistics(history)
    assert statistics["Days"] == len(returns)
    if len(returns) < MIN_DAYS:
        assert np.isnan(statistics["Sharpe Ratio (365 days)"])
        return
    losses = np.sqrt((returns.clip(upper=0) ** 2).mean())
    gained, lost = returns[returns > 0].sum(), -returns[returns < 0].sum()
    expected = {
        "Sharpe Ratio (365 days)": returns.mean() / returns.std() * np.sqrt(365) if returns.std() else np.nan,
        "Sortino Ratio (365 days)": returns.mean() / losses * np.sqrt(365) if losses else np.nan,
        "Returns Volatility (365 days)": returns.std() * np.sqrt(365),
        "Average (Return)": returns.mean(),
        "Profit Factor": gained / lost if lost else np.nan,
        "Win Rate": (returns > 0).mean(),
    }
    assert {name: statistics[name] for name in expected} == pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True)


def test_a_crash_between_two_points_of_the_picture_is_in_the_statistics() -> None:
    count = 40 * BINS
    ts_ns = MONDAY + np.arange(count) * 60_000_000_000
    equity = 10_000 + np.sin(np.arange(count) / 7)
    equity[23_456:23_460] -= 3_000

    history, picture = sum_up(
        equity_points(ts_ns, equity, 9_999), START, Decimal(10_000), Decimal(0), (int(ts_ns[0]), int(ts_ns[-1])),
        EVERY_DAY,
    )  # fmt: skip

    assert history.max_drawdown == drawdown(equity).min() < -3_000
    assert picture["drawdown"].min() == history.max_drawdown
    assert len(picture) <= 8 * BINS


@pytest.mark.parametrize(
    ("kind", "calendar"),
    [
        ("linear perpetual", EVERY_DAY), ("inverse perpetual", EVERY_DAY), ("FX pair", FX_DAYS),
        ("equity", EQUITY_SESSIONS), ("future", FUTURES_SESSIONS),
    ],
)  # fmt: skip
def test_the_calendar_is_that_of_the_instruments_class(kind: str, calendar: object) -> None:
    assert calendar_of(CONTRACTS[kind]) is calendar
    assert widest([calendar_of(CONTRACTS[kind]), EVERY_DAY]) is EVERY_DAY


def test_a_week_of_fx_has_five_days_and_a_week_of_crypto_seven() -> None:
    hours = pd.date_range("2024-03-03", "2024-03-17", freq="1h", tz="UTC")  # New York's clocks go forward on the 10th
    local = hours.tz_convert("America/New_York")
    weekend = (
        (local.dayofweek == 5)
        | ((local.dayofweek == 4) & (local.hour >= 17))
        | ((local.dayofweek == 6) & (local.hour < 17))
    )
    ts_ns = hours[~weekend].as_unit("ns").asi8
    curve = list(zip(np.diff(ts_ns, prepend=MONDAY).tolist(), [1.0] * len(ts_ns), strict=True))

    fx, crypto = history_of(curve, calendar=FX_DAYS), history_of(curve)

    assert len(fx.day_ends) == 10
    ends = pd.to_datetime(fx.day_ends, utc=True).tz_convert("America/New_York")
    assert set(ends.hour) == {17}
    assert ends.dayofweek.tolist() == [0, 1, 2, 3, 4] * 2
    assert len(crypto.day_ends) == 13  # Sunday evening to Friday of the week after


def test_ruined_account_has_zero_returns() -> None:
    day = 24 * HOUR
    history = history_of([(day, 0.0), (day, -5_000.0), (day, 1.0)])
    ruined = replace(history, day_equity=np.array([10_000.0, -500.0, -500.0]), end=-500.0)

    assert ruined.daily_returns.tolist() == [0.0, -1.05, 0.0]


@given(st.lists(st.floats(-100, 100), max_size=40))
def test_trades_are_counted_after_their_fees(made: list[float]) -> None:
    pnl = pd.Series(made, dtype=float)

    statistics = trade_statistics(pnl.to_numpy(), pnl.to_numpy() / 1_000)

    gained, lost = pnl[pnl > 0].sum(), -pnl[pnl < 0].sum()
    expected = {
        "Trades": len(pnl),
        "Win Rate": (pnl > 0).mean(),
        "Profit Factor": gained / lost if lost else np.nan,
        "Expectancy": pnl.mean(),
        "Average (Return)": pnl.mean() / 1_000,
        "Max Winner": pnl[pnl > 0].max(),
        "Avg Loser": pnl[pnl < 0].mean(),
    }
    assert {name: statistics[name] for name in expected} == pytest.approx(expected, nan_ok=True)
