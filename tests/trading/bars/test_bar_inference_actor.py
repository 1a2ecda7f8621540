"""The bar actor: its requests and their batches, the arrival of its predictions, and refused settings."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bar_support import MINUTE, SentRequests, market, ohlcv, reverse_split, silent, without
from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.instruments import Instrument
from price_run import write_price_run

from nautilus_torchserve.features.bar import bar_columns, window_ends, windows
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.serving.client.client import PredictionResponse, connect
from nautilus_torchserve.serving.client.in_process import InProcessClient
from nautilus_torchserve.trading.backtest.bars.catalog import write_bar_catalog
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.engine import importable_actor, run_config
from nautilus_torchserve.trading.backtest.report import report_data, summary
from nautilus_torchserve.trading.backtest.run import run_backtest
from nautilus_torchserve.trading.bars.actor import BarInferenceActorConfig
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.instruments.instruments import perpetual
from nautilus_torchserve.wire.errors import SchemaMismatch

MS = 1_000_000


@pytest.fixture
def sent_requests(monkeypatch: pytest.MonkeyPatch) -> SentRequests:
    """Record every request to in-process clients."""
    recorded = SentRequests([])
    predict: Callable[..., PredictionResponse] = InProcessClient.predict

    def recording_predict(
        client: InProcessClient, rows: np.ndarray, deadline_ns: int | None = None
    ) -> PredictionResponse:
        recorded.rows.append(rows)
        return predict(client, rows, deadline_ns)

    monkeypatch.setattr(InProcessClient, "predict", recording_predict)
    return recorded


@pytest.fixture(scope="module")
def indicator_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A price model that looks at indicators, too."""
    folder = tmp_path_factory.mktemp("indicators")
    return build_archive("price", write_price_run(folder / "run", indicators=True), "1.0", folder).path


def with_breaks(bars: Bars) -> Bars:
    """One bar and twenty bars are missing; each part is long enough for windows."""
    return without(without(bars, 150, 151), 230, 250)


@pytest.mark.parametrize("indicators", [False, True])
def test_streamed_predictions_equal_vectorised_ones_bit_for_bit(
    indicators: bool, bar_settings: BarBacktestSettings, indicator_archive: Path
) -> None:
    bars = with_breaks(market(count=330))
    settings = replace(bar_settings, url=f"mar:{indicator_archive}") if indicators else bar_settings

    result = run_backtest([bars], settings)

    ends = window_ends(bars.ts_event, MINUTE, 107 if indicators else 60)
    ends = ends[ends < len(bars) - 1]  # the last one's prediction never arrives
    rows = windows(bar_columns(ohlcv(bars), indicators), ends)
    with connect(settings.url, "price") as client:
        expected = client.predict(rows).outputs
    predictions = result.instruments[0].predictions
    np.testing.assert_array_equal(predictions["bar"], ends)
    assert set(expected) <= set(predictions)
    for name in expected:
        np.testing.assert_array_equal(predictions[name].to_numpy().view(np.uint32), expected[name].view(np.uint32))
    assert len(ends) > 40


@pytest.mark.parametrize("latency_ns", [2, 10 * MS, 50_000 * MS])
def test_each_prediction_arrives_exactly_the_latency_after_its_bar(
    latency_ns: int, bar_settings: BarBacktestSettings
) -> None:
    bars = [with_breaks(market("SIMUSD", 330)), market("ETHUSD", 330, seed=2)]

    result = run_backtest(bars, replace(bar_settings, latency_ns=latency_ns, max_age_ns=2 * latency_ns))

    for instrument in result.instruments:
        predictions = instrument.predictions
        np.testing.assert_array_equal(predictions["ts_event"], instrument.data.ts_event[predictions["bar"]])
        np.testing.assert_array_equal(predictions["ts_init"], predictions["ts_event"] + latency_ns)
        assert len(predictions) + instrument.not_arrived == len(window_ends(instrument.data.ts_event, MINUTE, 60))
        assert instrument.not_arrived == 1


def test_bars_that_close_together_make_one_request(
    bar_settings: BarBacktestSettings, sent_requests: SentRequests
) -> None:
    bars = [market("SIMUSD"), market("ETHUSD", seed=2), market("SOLUSD", seed=3)]

    result = run_backtest(bars, bar_settings)

    assert sent_requests.sizes == [3] * (260 - 59)
    for row, bar in enumerate(bars):
        ends = window_ends(bar.ts_event, MINUTE, 60)
        sent = np.stack([rows[row] for rows in sent_requests.rows])
        np.testing.assert_array_equal(sent, windows(bar_columns(ohlcv(bar)), ends))
    assert [len(instrument.predictions) for instrument in result.instruments] == [200] * 3


def test_company_changes_no_bit_of_a_prediction(bar_settings: BarBacktestSettings) -> None:
    first, second = market("SIMUSD"), market("ETHUSD", seed=2)

    together = run_backtest([first, second], bar_settings).instruments
    alone = [run_backtest([bars], bar_settings).instruments[0] for bars in (first, second)]

    for one, other in zip(together, alone, strict=True):
        assert one.predictions.drop(columns="latency_ns").equals(other.predictions.drop(columns="latency_ns"))
        assert one.fills.equals(other.fills)


@pytest.mark.parametrize("batch_wait_ns", [0, 3 * MS, 10 * MS])
def test_missing_bar_delays_the_others_by_the_batch_wait_at_most(
    batch_wait_ns: int, bar_settings: BarBacktestSettings, sent_requests: SentRequests
) -> None:
    bars = [market("SIMUSD"), without(market("ETHUSD", seed=2), 100, 150)]

    first, second = run_backtest(bars, replace(bar_settings, batch_wait_ns=batch_wait_ns)).instruments

    missing, filling, of_second = 50, 59, 41 + 260 - 150 - 59
    assert Counter(sent_requests.sizes) == {1: missing + filling, 2: of_second}
    assert (first.predictions["ts_init"] - first.predictions["ts_event"]).unique().tolist() == [10 * MS]
    np.testing.assert_array_equal(first.predictions["bar"], np.arange(59, 259))
    assert len(second.predictions) == of_second - 1


def test_refused_window_fails_alone(bar_settings: BarBacktestSettings, sent_requests: SentRequests) -> None:
    bars = [market("SIMUSD"), reverse_split(market("ETHUSD", seed=2), 120), market("SOLUSD", seed=3)]

    result = run_backtest(bars, replace(bar_settings, max_failures=4))

    assert [instrument.failed for instrument in result.instruments] == [0, 0, 0]
    assert [instrument.refused for instrument in result.instruments] == [0, 59, 0]
    assert [len(instrument.predictions) for instrument in result.instruments] == [200, 200 - 59, 200]
    assert (result.last_error, result.gave_up) == ("", False)
    assert "expected closes of one instrument" in result.last_refusal
    assert Counter(sent_requests.sizes) == {3: 201, 1: 3 * 59}
    assert summary(bar_settings, result)["refused"] == 59
    notes = report_data(bar_settings, result, result.instruments[1]).notes
    assert any("59 bars have no prediction because the model refused their features" in note for note in notes)


def test_refusal_of_all_windows_does_not_end_requests(
    bar_settings: BarBacktestSettings, sent_requests: SentRequests
) -> None:
    bars = reverse_split(market("SIMUSD"), 120)

    result = run_backtest([bars], replace(bar_settings, max_failures=4))

    assert not result.gave_up
    assert result.instruments[0].refused == 59
    assert result.instruments[0].predictions["bar"].max() == 258


def test_windows_without_volume_are_not_requested(
    bar_settings: BarBacktestSettings, sent_requests: SentRequests
) -> None:
    bars = [market("SIMUSD"), silent(market("ETHUSD", seed=2), 100, 180)]

    result = run_backtest(bars, bar_settings)

    assert [instrument.without_volume for instrument in result.instruments] == [
        0,
        21,
    ]  # those whose 60 bars were all silent
    assert [(instrument.refused, instrument.failed) for instrument in result.instruments] == [(0, 0), (0, 0)]
    assert [len(instrument.predictions) for instrument in result.instruments] == [200, 200 - 21]
    assert Counter(sent_requests.sizes) == {2: 201 - 21, 1: 21}
    assert summary(bar_settings, result)["without_volume"] == 21
    notes = report_data(bar_settings, result, result.instruments[1]).notes
    assert any("21 bars end a window without any volume" in note for note in notes)


def test_bars_before_first_ts_event_only_fill_the_window(
    bar_settings: BarBacktestSettings, price_archive: Path, tmp_path: Path, sent_requests: SentRequests
) -> None:
    bars = market(count=200)
    instrument = perpetual(bars.instrument, fee_bps=0.0)
    bar_type = BarType.from_str("SIMUSD.SIM-1-MINUTE-LAST-EXTERNAL")
    write_bar_catalog(bars, instrument, bar_type, 1.0, tmp_path)

    run_actor(actor_config(price_archive, first_ts_event=int(bars.ts_event[150])), instrument, tmp_path)

    np.testing.assert_array_equal(
        np.concatenate(sent_requests.rows), windows(bar_columns(ohlcv(bars)), np.arange(150, 200))
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"indicators": True}, r"bar/1 over 107 events .* got one trained on bar/1 over 60"),
        ({"bar_types": ["SIMUSD.SIM-5-MINUTE-LAST-EXTERNAL"]}, "expected a model of 300 s bars, got one of 60 s"),
    ],
)
def test_a_model_of_other_features_or_bars_is_refused_at_the_start(
    changes: dict, reason: str, price_archive: Path, tmp_path: Path
) -> None:
    bars = market(count=100)
    instrument = perpetual(bars.instrument, fee_bps=0.0)
    config = actor_config(price_archive, **changes)
    write_bar_catalog(bars, instrument, config.bar_types[0], 1.0, tmp_path)

    with pytest.raises(SchemaMismatch, match=reason):
        run_actor(config, instrument, tmp_path)


def actor_config(archive: Path, **changes: object) -> BarInferenceActorConfig:
    settings = {"bar_types": ["SIMUSD.SIM-1-MINUTE-LAST-EXTERNAL"], "url": f"mar:{archive}", **changes}
    bar_types = [BarType.from_str(name) for name in settings.pop("bar_types")]
    return BarInferenceActorConfig(bar_types=bar_types, max_gap_ns=MINUTE, **settings)


def run_actor(config: BarInferenceActorConfig, instrument: Instrument, catalog: Path) -> None:
    """Run the actor alone over what a catalog holds."""
    (bar_type,) = config.bar_types
    data = [BacktestDataConfig(catalog_path=str(catalog), data_cls=Bar, bar_types=[str(bar_type)])]
    node = BacktestNode([run_config([instrument], importable_actor(config), [], data, 1_000)])
    try:
        node.run()
    finally:
        node.dispose()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bar_types": []}, "expected bar_types of at least 1 instrument, got none"),
        (
            {"bar_types": ["A.X-1-MINUTE-LAST-EXTERNAL", "A.X-5-MINUTE-LAST-EXTERNAL"]},
            "expected bar_types of different instruments, got A.X, A.X",
        ),
        (
            {"bar_types": ["A.X-1-MINUTE-LAST-EXTERNAL", "B.X-5-MINUTE-LAST-EXTERNAL"]},
            "expected bar_types of one interval, got 1-MINUTE-LAST, 5-MINUTE-LAST",
        ),
        ({"batch_wait_ns": 11 * MS}, "expected batch_wait_ns of 0 to latency_ns = 10000000, got 11000000"),
        ({"batch_wait_ns": -1}, "batch_wait_ns of 0 .* got -1"),
        ({"latency_ns": -1, "batch_wait_ns": -1}, "latency_ns of at least 0.* got -1"),
        ({"url": "ftp://x"}, "url beginning with http://.* got 'ftp://x'"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        actor_config(Path("price.mar"), **wrong)
