"""Prefetched runs are inline runs: the same predictions, orders and fills, bit for bit, whatever the latency."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trade_market import prefetched_trades

from nautilus_torchserve.features.tick import WINDOW
from nautilus_torchserve.latency.profile import LatencyProfile, save_profile
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import Trades, implied_quotes
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.trading.backtest.prefetch.ticks import trade_chunks
from nautilus_torchserve.trading.backtest.recorder import Recorder
from nautilus_torchserve.trading.backtest.results import BacktestResult, fill_table
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.backtest.simulated_time import are_alerts_in_order
from nautilus_torchserve.trading.backtest.tick.market import CLASSES
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.instruments import quote_ticks, trade_ticks
from nautilus_torchserve.trading.prediction import Prediction, prediction_topic
from support import REAL_DATA

MS, SECOND = 10**6, 10**9
REAL_TRADES = REAL_DATA / "btcusdt_perp_trades_2020-02-22.csv"


@pytest.fixture(scope="session")
def bursty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile whose longest service times make responses overtake each other with several workers."""
    service_ns = np.random.default_rng(3).integers(MS, 300 * MS, 50)
    path = tmp_path_factory.mktemp("profile") / "profile.json"
    save_profile(LatencyProfile(service_ns, workers=1), path)
    return path


@pytest.fixture(scope="session")
def eager(settings: BacktestSettings) -> BacktestSettings:
    """Orders as often as may be: what is filled when then shows in the next one."""
    return replace(
        settings, min_probability=0.34, cooldown_ns=0, trade_size=settings.trade_size / 10, max_age_ns=10 * SECOND
    )


LATENCIES = {
    "constant": {"latency_ns": 40 * MS},
    "zero": {"latency_ns": 0},
    "1 worker": {"latency_workers": 1},
    "3 workers": {"latency_workers": 3, "latency_seed": 5},
}


def with_latency(settings: BacktestSettings, name: str, profile: Path) -> BacktestSettings:
    options = LATENCIES[name]
    return replace(settings, **options, latency_profile=profile if "latency_workers" in options else None)


def shared_times(trades: Trades) -> Trades:
    """The same trades with times in tenths of a second, so that many share one."""
    tenth = trades.ts_event // 10**8 * 10**8
    return replace(trades, ts_event=tenth, ts_init=tenth)


def received_late(trades: Trades) -> Trades:
    """The same trades over a feed that takes 200 ms."""
    return replace(trades, ts_init=trades.ts_event + 200 * MS)


def assert_same(left: BacktestResult, right: BacktestResult) -> None:
    """All that a run gives, but for the wall time of requests."""
    for name in ("fills", "equity"):
        pd.testing.assert_frame_equal(getattr(left, name), getattr(right, name), check_exact=True)
    pd.testing.assert_frame_equal(
        left.predictions.drop(columns="latency_ns"), right.predictions.drop(columns="latency_ns"), check_exact=True
    )
    for name in ("orders", "positions", "failed", "not_arrived", "balance", "gave_up", "last_error"):
        assert getattr(left, name) == getattr(right, name), name
    assert repr(left.statistics) == repr(right.statistics)  # some are NaN
    for one, other in zip(left.past_trades, right.past_trades, strict=True):
        np.testing.assert_array_equal(one.row, other.row)
        assert {**vars(one), "row": None} == {**vars(other), "row": None}


CASES = [
    *((latency, lambda trades: trades) for latency in LATENCIES),
    *((latency, shared_times) for latency in ("zero", "3 workers")),
    ("constant", received_late),
]


@pytest.mark.parametrize(
    ("latency", "change"), CASES, ids=[*LATENCIES, "zero, shared times", "3 workers, shared times", "received late"]
)
def test_prefetched_and_inline_runs_are_the_same_to_the_last_digit(
    market: Trades, eager: BacktestSettings, bursty: Path, latency: str, change: Callable[[Trades], Trades]
) -> None:
    trades, settings = change(market.between(0, 800)), with_latency(eager, latency, bursty)

    inline = run_backtest(trades, settings)
    beforehand = run_backtest(trades, replace(settings, mode="prefetch"))

    assert_same(beforehand, inline)
    assert len(inline.fills) > 20
    runs_at_end = latency.startswith("zero") and are_alerts_in_order()
    assert (inline.not_arrived == 0) == runs_at_end
    bid, ask = implied_quotes(trades)
    last = np.searchsorted(trades.ts_event, inline.fills["ts_ns"].to_numpy(), side="right") - 1  # at the venue
    price = np.round(inline.fills["price"].to_numpy() * 100)
    assert set(np.where(inline.fills["side"] == "BUY", price - ask[last], bid[last] - price)) <= {1, 2}
    overtaken = bool((np.diff(inline.predictions["trade"]) < 0).any())
    assert overtaken == (latency == "3 workers")


@pytest.mark.skipif(not REAL_TRADES.exists(), reason="the real trades are not here")
@pytest.mark.parametrize("latency", [pytest.param("constant", marks=pytest.mark.slow), "3 workers"])
def test_on_real_trades_too(eager: BacktestSettings, bursty: Path, latency: str) -> None:
    settings = with_latency(eager, latency, bursty)
    trades = load(REAL_TRADES, 0, 0).between(0, 1000)

    inline = run_backtest(trades, settings)
    beforehand = run_backtest(trades, replace(settings, mode="prefetch"))

    assert_same(beforehand, inline)
    assert len(inline.fills) > 20


def test_over_http_the_same_as_in_process(
    market: Trades,
    eager: BacktestSettings,
    tick_server: TorchServe,
    tick_archive: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tick_server.token is not None
    monkeypatch.setenv(eager.token_env, tick_server.token)
    settings = replace(eager, url=f"mar:{tick_archive}")

    in_process = run_backtest(market, replace(settings, mode="prefetch"))
    over_http = run_backtest(market, replace(settings, mode="prefetch", url=tick_server.inference_url))
    inline = run_backtest(market.between(0, 200), replace(settings, url=tick_server.inference_url))

    assert_same(over_http, in_process)
    few = len(inline.predictions)
    pd.testing.assert_frame_equal(
        over_http.predictions[:few].drop(columns="latency_ns"), inline.predictions.drop(columns="latency_ns")
    )


@pytest.mark.parametrize("change", [lambda trades: trades, shared_times], ids=["own times", "shared times"])
def test_chunks_change_nothing(
    market: Trades, eager: BacktestSettings, bursty: Path, change: Callable[[Trades], Trades]
) -> None:
    trades, settings = change(market.between(0, 2500)), with_latency(eager, "3 workers", bursty)
    whole = run_backtest(trades, replace(settings, mode="prefetch"))

    with prefetched_trades(trades, settings, chunk=1000) as run:
        (instrument,) = run.engine.cache.instruments()
        recorder = Recorder(run.engine.kernel.msgbus, [instrument], CLASSES, settings.starting_balance)
        recorded = recorder.predictions[instrument.id]
        run.start()
        fills = fill_table(recorder.ledgers[instrument.id])

    expected = whole.predictions.drop(columns=["trade", "latency_ns"])
    pd.testing.assert_frame_equal(recorded.table().drop(columns="latency_ns"), expected, check_exact=True)
    np.testing.assert_array_equal(recorded.numbers(), whole.predictions["trade"])
    pd.testing.assert_frame_equal(fills, whole.fills, check_exact=True)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-1, 0, 1])), min_size=1, max_size=60), st.integers(1, 70))
def test_chunks_hold_all_trades_and_the_quotes_of_the_whole(steps: list[tuple[int, int]], size: int) -> None:
    gaps, sides = np.array(steps).T
    trades = replace(
        simulate(len(steps)), ts_init=np.cumsum(gaps), ts_event=np.cumsum(gaps), side=sides.astype(np.int8)
    )

    chunks = list(trade_chunks(trades, size))

    (ticks, quotes) = ([datum for chunk in chunks for datum in chunk.streams[of][0]] for of in (0, 1))
    assert ticks == trade_ticks(trades)
    assert quotes == quote_ticks(trades)
    for chunk, after in pairwise(chunks):
        assert chunk.streams[0][1][-1] < chunk.until_ns == after.streams[0][1][0]


def test_a_prediction_is_made_as_its_constructor_makes_it(market: Trades, settings: BacktestSettings) -> None:
    with prefetched_trades(market.between(0, 40), settings, chunk=1000) as run:
        (instrument_id,) = run.engine.cache.instrument_ids()
        recorded: list[Prediction] = []
        run.engine.kernel.msgbus.subscribe(topic=prediction_topic(instrument_id), handler=recorded.append)
        run.start()

    made = recorded[0]
    fields = {name: value for name, value in vars(made).items() if not name.startswith("_")}
    assert made == Prediction(ts_event=made.ts_event, ts_init=made.ts_init, **fields)
    assert list(vars(made)) == list(vars(Prediction(ts_event=made.ts_event, ts_init=made.ts_init, **fields)))
    assert made.number == WINDOW
    assert made.ts_init == market.ts_init[WINDOW] + settings.latency_ns


def test_traffic_is_refused(settings: BacktestSettings) -> None:
    with pytest.raises(BadSetting, match="no traffic in mode prefetch"):
        replace(settings, mode="prefetch", url="http://127.0.0.1:8080", traffic="sqlite:///traffic.db")
