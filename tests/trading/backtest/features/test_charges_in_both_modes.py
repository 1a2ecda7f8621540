"""Charges, quotes and recorded latencies change a prefetched run as they change an inline run, whatever the model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bar_support import market as bar_market
from test_feature_backtest import settings_for

from nautilus_torchserve.latency.profile import LatencyProfile, save_profile
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.backtest.tick.market import TradesAndQuotes
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.instruments.instruments import implied

MS, SECOND = 10**6, 10**9
CONSTANT: dict[str, Any] = {"latency_ns": 3 * MS}
ZERO: dict[str, Any] = {"latency_ns": 0}
PROFILE: dict[str, Any] = {"latency_profile": Path("profile.json"), "max_age_ns": 100 * SECOND}
"""Latencies recorded from two workers, some of which make later requests wait or overtake."""
FUNDING: dict[str, Any] = {"funding": Path("rates.csv")}
BORROW: dict[str, Any] = {"borrow": "0.5"}


def numbers(result: BacktestResult) -> dict[str, pd.DataFrame]:
    """All of a run, but for the measured latencies of its requests."""
    (part,) = result.instruments
    account = {name: getattr(result.account, name) for name in ("pnl", "fees", "funding", "borrow")}
    return {
        "predictions": part.predictions.drop(columns="latency_ns"),
        "fills": part.fills,
        "charges": pd.DataFrame(part.charges).astype(str),
        "equity": result.equity,
        "account": pd.DataFrame([account | {"balance": result.balance, "not_arrived": part.not_arrived}]),
    }


@pytest.mark.parametrize(
    ("kind", "delay", "cost"),
    [
        ("tick", PROFILE, FUNDING),
        ("tick on quotes", CONSTANT, FUNDING),
        ("own", PROFILE, FUNDING),
        ("own on quotes", ZERO, FUNDING),
        ("own on bars", PROFILE, BORROW),
        ("price", PROFILE, BORROW),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_both_modes_have_the_same_fills_and_charges(
    kind: str,
    delay: dict[str, Any],
    cost: dict[str, Any],
    market: Trades,
    settings: BacktestSettings,
    bar_settings: BarBacktestSettings,
    moves_archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    trades, bars = market.between(0, 400), bar_market(count=130)
    known = implied(trades)
    quotes = replace(known, ts_event=known.ts_event - 1_000, ts_init=known.ts_init - 1_000)
    data, base = {
        "tick": (trades, settings),
        "tick on quotes": (TradesAndQuotes(trades, quotes), settings),
        "own": ([trades], settings_for(moves_archive, "TRADES")),
        "own on quotes": ([trades, quotes], settings_for(moves_archive, "BOTH")),
        "own on bars": ([bars], settings_for(moves_archive, "BARS")),
        "price": ([bars], replace(bar_settings, cost_bps=0.0)),
    }[kind]
    times = np.linspace(*trades.ts_event[[0, -1]], 60)[1:-1].astype(np.int64).tolist()
    Path("rates.csv").write_text("time,rate\n" + "".join(f"{at},{row % 5 - 1}e-4\n" for row, at in enumerate(times)))
    service_ns = np.random.default_rng(4).choice([2 * MS, 90 * MS, 3 * SECOND], 40)
    save_profile(LatencyProfile(service_ns, workers=2), Path("profile.json"))

    inline, prefetched = (
        numbers(run_backtest(data, replace(base, **delay, **cost, mode=mode))) for mode in ("inline", "prefetch")
    )

    for name, values in inline.items():
        pd.testing.assert_frame_equal(prefetched[name], values, check_exact=True, obj=name)
    assert len(inline["fills"]) > 1
    assert len(inline["charges"])
