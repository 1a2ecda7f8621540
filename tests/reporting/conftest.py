import numpy as np
import pandas as pd
import pytest

from nautilus_torchserve.reporting.backtest.data import ReportData
from nautilus_torchserve.scores.account import EVERY_DAY, AccountHistory, drawdown

TRADES, WINDOW = 500, 32
START = 1_714_521_600_000_000_000


@pytest.fixture
def report_data() -> ReportData:
    """A small simulated backtest: every section has something to show, the last outcomes are unknown."""
    rng = np.random.default_rng(5)
    ts_ns = START + np.sort(rng.integers(0, 3_600_000_000_000, TRADES))
    price = 60_000 + np.cumsum(rng.normal(0, 1, TRADES)).round(2)
    rows = rng.dirichlet((1, 1, 1), TRADES - WINDOW).astype(np.float32)
    latency = rng.lognormal(14, 0.5, len(rows)).astype(np.int64)
    predictions = pd.DataFrame(rows, columns=["buy", "sell", "hold"])
    predictions["ts_event"] = ts_ns[WINDOW:]
    predictions["ts_init"] = ts_ns[WINDOW:] + latency
    predictions["latency_ns"] = latency
    actual = rng.integers(0, 3, len(rows)).astype(np.int8)
    actual[-20:] = -1
    traded = np.arange(50, 450, 40)
    equity = 1_000 + np.cumsum(rng.normal(0, 1, TRADES))
    return ReportData(
        title="Tick classifier",
        instrument_id="BTCUSDT.SIM",
        simulated=True,
        data={"Source": "simulator, seed 5", "sha256": "ab" * 32, "Period": "2024-05-01"},
        model={"name": "tick", "version": "1.0"},
        settings={"fee": "4 bps"},
        notes=("Fills at the last trade's price.",),
        ts_ns=ts_ns,
        price=price,
        predictions=predictions,
        actual=actual,
        class_names=("buy", "sell", "hold"),
        min_probability=0.6,
        fills=pd.DataFrame(
            {"ts_ns": ts_ns[traded], "side": ["BUY", "SELL"] * 5, "price": price[traded], "quantity": 0.01}
        ),
        equity=pd.DataFrame({"ts_ns": ts_ns, "equity": equity, "drawdown": drawdown(equity)}),
        account=AccountHistory(
            start=1_000.0,
            end=float(equity[-1]),
            pnl=float(equity[-1]) - 1_000,
            fees=1.0,
            max_drawdown=-31.25,
            max_drawdown_share=-0.03,
            calendar=EVERY_DAY,
            day_ends=np.array([START + 86_400_000_000_000]),
            day_equity=equity[-1:],
            stretch_equity=equity[[0, -1]],
        ),
        currency="USDT",
        statistics={"PnL (USDT)": {"PnL (total)": -1.5}, "Returns": {"Sharpe Ratio (365 days)": float("nan")}},
        statistics_basis={"Returns": "1 day: not enough days."},
        orders=12,
    )
