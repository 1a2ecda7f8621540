"""Whole backtests on bars: the same twice, no look-ahead, fills at the quotes, accounts that add up."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bar_support import MINUTE, market, reverse_split, silent, without
from price_run import write_price_run

from nautilus_torchserve.market.bars.aggregate import aggregate
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.quotes import bar_quotes
from nautilus_torchserve.market.trades.trades import BadData, Instrument
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.reporting.backtest.data import UNKNOWN
from nautilus_torchserve.reporting.backtest.summary import summarize
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.report import report_data, summary, write_reports
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.wire.errors import SchemaMismatch

CUT = 400


@pytest.fixture(scope="module")
def pair() -> list[Bars]:
    """Two instruments, the first of which has breaks."""
    return [without(without(market("BTCUSDT", 560), 300, 301), 420, 460), market("ETHUSDT", 560, seed=2)]


@pytest.fixture(scope="module")
def whole(pair: list[Bars], bar_settings: BarBacktestSettings) -> BacktestResult:
    return run_backtest(pair, bar_settings)


def without_latency(table: pd.DataFrame) -> pd.DataFrame:
    """All columns but the measured latency."""
    return table.drop(columns="latency_ns", errors="ignore")


def before(table: pd.DataFrame, column: str, until: int) -> pd.DataFrame:
    return without_latency(table[table[column] < until])


def test_two_runs_give_the_same(whole: BacktestResult, pair: list[Bars], bar_settings: BarBacktestSettings) -> None:
    again = run_backtest(pair, bar_settings)

    for one, other in zip(again.instruments, whole.instruments, strict=True):
        pd.testing.assert_frame_equal(without_latency(one.predictions), without_latency(other.predictions))
        pd.testing.assert_frame_equal(one.fills, other.fills)
        assert len(one.fills) > 60


def test_the_future_changes_no_earlier_prediction_or_order(
    whole: BacktestResult, pair: list[Bars], bar_settings: BarBacktestSettings
) -> None:
    until = int(pair[1].ts_event[CUT - 1])
    cut = [bars.between(0, int(np.searchsorted(bars.ts_event, until, side="right"))) for bars in pair]
    other = [
        replace(
            bars,
            close=np.where(bars.ts_event > until, bars.open, bars.close),
            volume=np.where(bars.ts_event > until, bars.volume + 1, bars.volume),
        )
        for bars in pair
    ]

    for run in (run_backtest(cut, bar_settings), run_backtest(other, bar_settings)):
        for changed, expected in zip(run.instruments, whole.instruments, strict=True):
            for name, column in (("predictions", "ts_init"), ("fills", "ts_ns")):
                pd.testing.assert_frame_equal(
                    before(getattr(changed, name), column, until), before(getattr(expected, name), column, until)
                )
            assert len(before(changed.fills, "ts_ns", until)) > 50


@pytest.mark.parametrize("spread_bps", [0.0, 20.0])
def test_every_fill_is_at_the_quote_of_its_time_and_one_step_worse(
    spread_bps: float, pair: list[Bars], bar_settings: BarBacktestSettings
) -> None:
    settings = replace(bar_settings, spread_bps=spread_bps, cost_bps=1.0)

    result = run_backtest(pair, settings)

    for instrument in result.instruments:
        quotes, fills = bar_quotes(instrument.data, spread_bps), instrument.fills
        last = np.searchsorted(quotes.ts_event, fills["ts_ns"].to_numpy(), side="right") - 1
        price = np.round(fills["price"].to_numpy() * 100).astype(np.int64)
        steps_worse = np.where(fills["side"] == "BUY", price - quotes.ask[last], quotes.bid[last] - price)
        assert set(steps_worse) == {1}
        assert len(fills) > 60


def with_gaps(every: int) -> Bars:
    """Bars with breaks of 1 to 15 minutes, after each of which the price is 2% higher."""
    bars = market(count=560)
    for number, start in enumerate(reversed(range(80, 440, every))):
        bars = without(bars, start, start + (1, 5, 15)[number % 3])
    later = 200 * np.cumsum(np.diff(bars.ts_event, prepend=bars.ts_event[0]) > MINUTE)
    return replace(bars, **{name: getattr(bars, name) + later for name in PRICES})


@pytest.mark.parametrize(("max_gap_minutes", "every"), [(1, 80), (60, 20)])
def test_orders_in_a_closed_market_fill_at_the_next_open(
    bar_settings: BarBacktestSettings, tmp_path: Path, max_gap_minutes: int, every: int
) -> None:
    bars = with_gaps(every)
    run = write_price_run(tmp_path / "run", max_gap_ns=max_gap_minutes * MINUTE)
    url = f"mar:{build_archive('price', run, '1.0', tmp_path).path}"
    turning = replace(bar_settings, url=url, cost_bps=0.0, spread_bps=0.0)

    inline = run_backtest([bars], turning)
    beforehand = run_backtest([bars], replace(turning, mode="prefetch"))

    (result,), fills = inline.instruments, inline.instruments[0].fills
    pd.testing.assert_frame_equal(beforehand.instruments[0].fills, fills)
    now, opens = fills["ts_ns"].to_numpy(), bars.ts_event - MINUTE
    bar = np.searchsorted(opens, now, side="right") - 1
    in_progress = now < bars.ts_event[bar]
    assert in_progress[:-1].all()  # the last closes the position at the end of the data
    worse = np.where(fills["side"] == "BUY", 1, -1) * (np.round(fills["price"] * 100) - bars.open[bar])
    assert set(worse[:-1]) == {1}
    after_breaks = np.intersect1d(now, opens[1:][np.diff(bars.ts_event) > MINUTE])
    assert len(after_breaks) >= 3  # some close a position whose horizon ended in the break
    assert len(after_breaks) >= result.held == beforehand.instruments[0].held >= 2
    waited = f"waits for the next open and fills there in the same way: {result.held} of"
    assert any(waited in note for note in report_data(turning, inline, result).notes)


def test_page_statistics_and_instruments_agree(whole: BacktestResult, bar_settings: BarBacktestSettings) -> None:
    start = float(bar_settings.starting_balance)

    assert whole.equity["equity"].iloc[0] == start
    assert whole.equity["equity"].iloc[-1] == pytest.approx(whole.balance, abs=1e-8)
    assert whole.statistics["PnL (USDT)"]["PnL (total)"] == pytest.approx(whole.balance - start, abs=1e-8)
    made = [instrument.equity["equity"].iloc[-1] - start for instrument in whole.instruments]
    assert sum(made) == pytest.approx(whole.balance - start, abs=1e-8)
    for instrument, pnl in zip(whole.instruments, made, strict=True):
        assert instrument.statistics["PnL (USDT)"]["PnL (total)"] == pytest.approx(pnl, abs=1e-8)


def test_each_venue_has_an_account_of_its_own(bar_settings: BarBacktestSettings) -> None:
    bars = [market("BTCUSDT", 300), market("BTCUSDT", 300, seed=2, venue="ELSEWHERE")]

    result = run_backtest(bars, bar_settings)

    assert result.equity["equity"].iloc[0] == 2 * bar_settings.starting_balance
    assert result.equity["equity"].iloc[-1] == pytest.approx(result.balance, abs=1e-8)
    assert all(len(instrument.fills) > 20 for instrument in result.instruments)


def test_higher_costs_mean_fewer_orders(
    whole: BacktestResult, pair: list[Bars], bar_settings: BarBacktestSettings
) -> None:
    dear = run_backtest(pair, replace(bar_settings, fee_bps=2.5))

    predictions = dear.instruments[1].predictions
    assert replace(bar_settings, fee_bps=2.5).threshold_bps(dear.instruments[1].definition.instrument) == 6.0
    assert 0 < dear.instruments[1].orders < whole.instruments[1].orders
    entered = predictions[predictions["return_bps"].abs() > 6.0]["ts_init"]
    assert dear.instruments[1].fills["ts_ns"].iloc[0] == entered.iloc[0]


def archive_fitted_until(folder: Path, bars: Bars, position: int) -> Path:
    run = write_price_run(
        folder / "run", last_ts_event=int(bars.ts_event[position]), instrument_id=bars.instrument.instrument_id
    )
    return build_archive("price", run, "1.0", folder).path


def test_bars_that_the_fit_saw_only_fill_the_first_window(bar_settings: BarBacktestSettings, tmp_path: Path) -> None:
    bars = market(count=300)
    settings = replace(bar_settings, url=f"mar:{archive_fitted_until(tmp_path, bars, 199)}")

    (result,) = run_backtest([bars], settings).instruments
    (everything,) = run_backtest([bars], replace(settings, in_sample=True)).instruments

    assert (len(result.data), result.warm) == (100, 59)
    assert result.predictions["bar"].tolist() == list(range(99))
    assert result.fills["ts_ns"].min() > bars.ts_event[200]
    assert result.sample_note.startswith("Only the last 100 of 300 bars")
    same = everything.predictions[everything.predictions["ts_event"] > bars.ts_event[199]]
    for name in ("ts_event", "ts_init", "return_bps", "confidence"):
        np.testing.assert_array_equal(result.predictions[name], same[name])
    assert everything.sample_note.startswith("IN SAMPLE")
    assert (result.in_sample, everything.in_sample) == (False, True)
    with pytest.raises(BadData, match=r"expected bars after .*, as the model's fit saw"):
        run_backtest([bars.between(0, 200)], settings)


def test_other_instruments_beside_the_fitted_one_are_evaluated_after_the_fit_too(
    bar_settings: BarBacktestSettings, tmp_path: Path
) -> None:
    fitted, other = market("SIMUSD", 300), market("ETHUSD", 300, seed=2)
    settings = replace(bar_settings, url=f"mar:{archive_fitted_until(tmp_path, fitted, 199)}")

    beside = run_backtest([other, fitted], settings).instruments
    (alone,) = run_backtest([other], settings).instruments

    assert [len(each.data) for each in beside] == [100, 100]
    assert "the model's fit saw SIMUSD.SIM until then" in beside[0].sample_note
    assert len(alone.data) == 300


@pytest.mark.parametrize(
    ("bars", "reason"),
    [
        ([], "expected bars of at least 1 instrument, got none"),
        ([market(), market()], "expected bars of different instruments, got SIMUSD.SIM, SIMUSD.SIM"),
        (
            [market(), aggregate(market("ETHUSD"), 5 * MINUTE)],
            "expected bars of one interval, got 60 s of SIMUSD.SIM, 300 s of ETHUSD.SIM",
        ),
        (
            [market(), market("ETHUSDT")],
            "expected instruments settled in one currency, got SIMUSD.SIM in USD, ETHUSDT.SIM in USDT",
        ),
        ([market(count=59)], "simulated bars .*: expected 60 bars with volume and without a break, got fewer among 59"),
        (
            [without(market(count=118), 59, 60)],
            "expected 60 bars with volume and without a break.* more than [0-9]+ s apart .*--max-gap",
        ),
        (
            [replace(market(), instrument=Instrument("ESZ4", "CBX", 2, 3))],
            "ESZ4.CBX: expected a known instrument, as its symbol .*--currency does",
        ),
        ([replace(market(), volume=market().volume * 10**14)], "expected volume below 3.4.*e[+]13 .*, got"),
    ],
)
def test_bars_that_do_not_fit_are_refused(bars: list[Bars], reason: str, bar_settings: BarBacktestSettings) -> None:
    with pytest.raises(BadData, match=reason):
        run_backtest(bars, bar_settings)


def test_a_model_of_other_bars_is_refused(bar_settings: BarBacktestSettings, tick_archive: Path) -> None:
    with pytest.raises(SchemaMismatch, match="expected a model of 300 s bars, got one of 60 s"):
        run_backtest([aggregate(market(count=600), 5 * MINUTE)], bar_settings)
    with pytest.raises(SchemaMismatch, match=r"features bar/1 .*, got tick/1"):
        run_backtest([market()], replace(bar_settings, url=f"mar:{tick_archive}"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"spread_bps": -1.0}, r"spread_bps in \[0, 10000\).* got -1"),
        ({"batch_wait_ns": 2, "latency_ns": 1}, "expected batch_wait_ns of 0 to latency_ns = 1, got 2"),
        ({"latency_ns": 2, "max_age_ns": 1}, "latency_ns of at most max_age_ns = 1 .* got 2"),
        ({"fee_bps": -1.0}, "expected fee_bps of at least 0, got -1"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        BarBacktestSettings(**{"url": "mar:price.mar", **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"horizon_ns": MINUTE - 1}, f"expected horizon_ns of at least a bar's {MINUTE}, got {MINUTE - 1}"),
        ({"latency_ns": MINUTE, "max_age_ns": MINUTE}, f"expected latency_ns below a bar's {MINUTE}, got {MINUTE}"),
        ({"min_confidence": 0.4}, r"expected min_confidence in \[0.5, 1\), got 0.4"),
    ],
)
def test_settings_that_contradict_the_model_are_refused(
    wrong: dict, message: str, bar_settings: BarBacktestSettings
) -> None:
    with pytest.raises(BadSetting, match=message):
        run_backtest([market()], replace(bar_settings, **wrong))


def test_the_report_scores_each_prediction_by_the_next_bar(
    whole: BacktestResult, bar_settings: BarBacktestSettings
) -> None:
    first = whole.instruments[0]

    data = report_data(bar_settings, whole, first)

    close, ts_event = first.data.close, first.data.ts_event
    for place, actual in zip(first.predictions["bar"].tolist(), data.actual.tolist(), strict=True):
        breaks = place + 1 == len(close) or ts_event[place + 1] - ts_event[place] > MINUTE
        change = 0 if breaks else close[place + 1] - close[place]
        assert actual == (UNKNOWN if change == 0 else 0 if change > 0 else 1)
    up = data.predictions["return_bps"] > 0
    assert (data.predictions["buy"] >= 0.5).equals(up)
    np.testing.assert_array_equal(data.predictions[["buy", "sell"]].max(axis=1), data.predictions["confidence"])
    figures = summarize(data)
    assert figures["known_outcomes"] == (data.actual != UNKNOWN).sum() > 200
    assert figures["pnl"] == pytest.approx(summary(bar_settings, whole)["instruments"][0]["pnl"])
    assert "The spread of 1 bps is an assumption" in " ".join(data.notes)


def test_one_instrument_has_one_page_and_several_have_one_each(
    whole: BacktestResult, bar_settings: BarBacktestSettings, tmp_path: Path
) -> None:
    overview = write_reports(bar_settings, whole, tmp_path / "several")

    assert sorted(path.parent.name for path in tmp_path.glob("several/*/index.html")) == ["BTCUSDT.SIM", "ETHUSDT.SIM"]
    document = json.loads(overview.read_text())
    assert document == json.loads(json.dumps(summary(bar_settings, whole)))
    assert document["orders"] == sum(part["orders"] for part in document["instruments"])
    assert document["pnl"] == pytest.approx(sum(part["pnl"] for part in document["instruments"]))
    alone = run_backtest([market(count=100)], bar_settings)
    assert write_reports(bar_settings, alone, tmp_path / "one") == tmp_path / "one" / "index.html"


def test_model_that_stops_responding_is_reported(
    tick_server: TorchServe, model_store: Path, bar_settings: BarBacktestSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = build_archive("price", write_price_run(model_store / "going-run"), "1.0", model_store).path
    manager = tick_server.management()
    manager.register(archive.name, model_name="price-going", initial_workers=1)
    manager.wait_ready("price-going", "1.0")
    assert tick_server.token is not None
    monkeypatch.setenv(bar_settings.token_env, tick_server.token)
    settings = replace(bar_settings, url=tick_server.inference_url, model="price-going")

    registered = ["price-going"]

    def leave(done: int, total: int) -> None:
        if done >= total // 2 and registered:
            manager.unregister(registered.pop())

    result = run_backtest([market(count=400)], settings, leave)

    assert result.gave_up
    notes = report_data(settings, result, result.instruments[0]).notes
    assert notes[0].startswith("THE MODEL STOPPED ANSWERING: no predictions after 10 failures in a row")
    assert any("10 bars have no prediction because the request failed" in note for note in notes)


def test_over_http_the_same_as_in_process(
    tick_server: TorchServe, model_store: Path, bar_settings: BarBacktestSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = build_archive("price", write_price_run(model_store / "price-run"), "1.0", model_store).path
    manager = tick_server.management()
    manager.register(archive.name, model_name="price-traded", initial_workers=1)
    manager.wait_ready("price-traded", "1.0")
    assert tick_server.token is not None
    monkeypatch.setenv(bar_settings.token_env, tick_server.token)
    bars = [silent(market("SIMUSD", 200), 100, 180), reverse_split(market("ETHUSD", 200, seed=2), 100)]
    served = replace(bar_settings, url=tick_server.inference_url, model="price-traded")

    over_http, in_process = run_backtest(bars, served), run_backtest(bars, bar_settings)

    for one, other in zip(over_http.instruments, in_process.instruments, strict=True):
        pd.testing.assert_frame_equal(without_latency(one.predictions), without_latency(other.predictions))
        pd.testing.assert_frame_equal(one.fills, other.fills)
    assert [(instrument.without_volume, instrument.refused) for instrument in over_http.instruments] == [
        (21, 0),
        (0, 59),
    ]
    assert "BadWindow" in over_http.last_refusal
