"""Bulk requests: refusal row by row, when requests end, and concurrent requests."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from bar_support import market as bars_of
from bar_support import ohlcv, silent
from hypothesis import given
from hypothesis import strategies as st
from trade_market import prefetched_trades

from nautilus_torchserve.features.bar import bar_columns, window_ends, windows
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.trading.backtest.prefetch.requests import BatchResponse, Failures, predict_rows
from nautilus_torchserve.trading.backtest.prefetch.stream import map_ahead
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.wire.errors import BadWindow, OutputNotFinite, ServerFault, UnknownModel


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Windows of which those without any volume are refused, float32 [n, 60, 5]."""
    bars = silent(silent(bars_of(count=260), 90, 160), 190, 251)
    return windows(bar_columns(ohlcv(bars)), window_ends(bars.ts_event, bars.interval_ns, 60))


def test_refused_rows_fail_alone(rows: np.ndarray, price_archive: Path) -> None:
    with connect(f"mar:{price_archive}", "price") as client:
        response = predict_rows(client, rows)

        without_volume = np.flatnonzero((rows[:, :, 4] == 0).all(axis=1))
        assert sorted(response.errors) == without_volume.tolist()
        assert len(without_volume) == 13
        for row in range(len(rows)):
            if row in response.errors:
                with pytest.raises(BadWindow) as refused:
                    client.predict(rows[row : row + 1])
                assert str(response.errors[row]) == str(refused.value)
                assert isinstance(response.errors[row], BadWindow)
            else:
                alone = np.concatenate(list(client.predict(rows[row : row + 1]).outputs.values()))
                np.testing.assert_array_equal(response.outputs[row].view(np.uint32), alone.view(np.uint32))


def test_responses_of_another_archive_are_refused(
    rows: np.ndarray, price_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(f"mar:{price_archive}", "price") as client:
        predict = client.predict
        monkeypatch.setattr(client, "predict", lambda rows: replace(predict(rows), digest="0123456789abcdef"))

        with pytest.raises(
            ServerFault, match=r"expected predictions of archive .* for the whole run, got 0123456789ab"
        ):
            predict_rows(client, rows[:1])


@given(
    events=st.lists(st.lists(st.sampled_from("afr"), min_size=1, max_size=3), min_size=1, max_size=30),
    most=st.integers(1, 4),
    cut=st.integers(0, 30),
)
def test_requests_end_where_an_actor_would_end_them(events: list[list[str]], most: int, cut: int) -> None:
    """Rows are predicted, fail or are refused; a refusal shows that the server works."""
    fate = np.array([each for event in events for each in event])
    kinds = {"f": OutputNotFinite("no number"), "r": BadWindow("no window")}
    event = np.repeat(np.arange(len(events)), [len(each) for each in events])
    number = np.arange(len(event))
    failures = Failures(most)

    taken: list[int] = []
    for part in (event < cut, event >= cut):
        if part.any() and not failures.gave_up:
            errors = {row: kinds[outcome] for row, outcome in enumerate(fate[part].tolist()) if outcome != "a"}
            response = BatchResponse(
                np.zeros((part.sum(), 1), dtype=np.float32), np.zeros(part.sum(), dtype=np.int64), errors
            )
            taken += number[part][failures.accepted(response, number[part] * 0, number[part], event[part])].tolist()

    expected, failed, refused, in_a_row = [], [], [], 0
    for _, together in groupby(number.tolist(), key=event.__getitem__):
        if in_a_row < most:
            here = list(together)
            expected += [each for each in here if fate[each] == "a"]
            failed += [each for each in here if fate[each] == "f"]
            refused += [each for each in here if fate[each] == "r"]
            in_a_row = in_a_row + 1 if (fate[here] == "f").all() else 0
    assert (taken, failures.failed.get(0, []), failures.refused.get(0, [])) == (expected, failed, refused)
    assert failures.gave_up == (in_a_row == most)


def test_concurrent_requests_keep_the_order_of_their_responses() -> None:
    together = threading.Barrier(4)

    def wait_for_all(number: int) -> int:
        together.wait(timeout=30)  # passes once four have arrived
        return number

    assert list(map_ahead(wait_for_all, range(16), threads=4, ahead=8)) == list(range(16))


def test_only_the_next_requests_are_sent_ahead() -> None:
    drawn: list[int] = []

    def parts() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    responses = map_ahead(lambda number: number, parts(), threads=2, ahead=5)

    assert next(responses) == 0
    assert drawn == list(range(6))
    responses.close()


def test_a_model_that_goes_away_ends_the_run(
    market: Trades,
    settings: BacktestSettings,
    tick_server: TorchServe,
    tick_archive: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manager = tick_server.management()
    manager.register(tick_archive.name, model_name="tick-leaving", initial_workers=1)
    manager.wait_ready("tick-leaving", "1.0")
    assert tick_server.token is not None
    monkeypatch.setenv(settings.token_env, tick_server.token)
    gone = BacktestSettings(url=tick_server.inference_url, model="tick-leaving", version="1.0")

    with prefetched_trades(market, gone) as run:
        manager.unregister("tick-leaving")

        with pytest.raises(UnknownModel, match="tick-leaving"):
            run.start()
