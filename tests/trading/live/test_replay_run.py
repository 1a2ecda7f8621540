"""A replay through NautilusTrader's own node: every event has a request, orders are filled, the end is clean."""

import time
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from witness import read_events, witnessed

from nautilus_torchserve.audit.opening import existing_log
from nautilus_torchserve.audit.records import RequestRecord
from nautilus_torchserve.features.tick import WINDOW
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.trading.instruments.instruments import perpetual, write_catalog

TRADES, WARM_UP = 400, 100


class CompletedRun(NamedTuple):
    """A run that has ended."""

    status: int
    summary: dict[str, Any]
    err: str
    audit: Path
    events: list[dict[str, Any]]


@pytest.fixture(scope="module")
def completed(
    tick_archive: Path,
    replay_file: Callable[..., Path],
    live_script: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> CompletedRun:
    """One run over 300 trades after a warm-up of 100, 40 times as fast as they were."""
    lines = tmp_path_factory.mktemp("witness") / "lines.jsonl"
    state = f'state_file = "{lines.parent}/day.json"'
    audit = lines.parent / "audit"
    listeners = f'[audit]\nurl = "parquet:{audit}"\n[metrics]\nport = 0\n'
    path = replay_file(f"mar:{tick_archive}", TRADES, end=listeners + witnessed(lines), risk=state)

    status, summary, err = live_script(path).wait()

    assert status == 0, err
    return CompletedRun(status, summary, err, audit, read_events(lines))


def test_every_event_has_one_request_with_full_features(completed: CompletedRun) -> None:
    numbers = [number for line in completed.events if line["kind"] == "call" for number in line["numbers"]]

    assert WARM_UP > WINDOW
    assert sorted(numbers) == list(range(WARM_UP, TRADES))
    assert sum(completed.summary["questions"].values()) == TRADES - WARM_UP
    assert completed.summary["questions"]["ANSWERED"] > 0.9 * (TRADES - WARM_UP)


def test_it_ends_flat_with_every_fill(completed: CompletedRun) -> None:
    fills = [line for line in completed.events if line.get("event") == "OrderFilled"]
    bought = sum(Decimal(line["quantity"]) for line in fills if line["side"] == "BUY")
    sold = sum(Decimal(line["quantity"]) for line in fills if line["side"] == "SELL")

    assert len(fills) == completed.summary["fills"] > 0
    assert completed.summary["fills_lost"] == 0
    filled = {side: Decimal(quantity) for side, quantity in completed.summary["filled"]["SIMUSD.SIM"].items()}
    assert filled == {"BUY": bought, "SELL": sold}
    assert bought == sold
    assert completed.summary["position"] == {"SIMUSD.SIM": "0"}
    # whole, whatever the quote's size was
    assert completed.summary["orders_by_status"] == {"FILLED": completed.summary["orders"]}


def test_summary_describes_the_replayed_data(completed: CompletedRun) -> None:
    trades = load(None, TRADES, 1)
    replay = completed.summary["replay"]
    first = next(line for line in completed.events if line["kind"] == "call" and WARM_UP in line["numbers"])

    shifted = first["ts_init"][first["numbers"].index(WARM_UP)]

    assert replay["shift_ns"] == shifted - int(trades.ts_init[WARM_UP])
    assert replay["sha256"] == trades.sha256
    assert replay["events"] == TRADES - WARM_UP
    assert replay["ended"]
    assert completed.summary["ending"] == "end of the recorded data"
    assert not completed.summary["failed"]
    assert completed.summary["flat"]


def test_log_and_metrics_exist_where_the_file_configures_them(completed: CompletedRun) -> None:
    requests = existing_log(f"parquet:{completed.audit}").read(RequestRecord)

    assert len(list(requests)) == TRADES - WARM_UP
    assert "Metrics at http://127.0.0.1:" in completed.err


def test_no_order_was_sent_but_on_a_good_prediction(completed: CompletedRun) -> None:
    ordered = [line for line in completed.events if line["kind"] == "decision" and line["order"]]

    assert ordered
    assert {line["status"] for line in ordered} == {"OK"}


@pytest.mark.slow
def test_features_are_filled_from_a_catalog(
    tick_archive: Path, replay_file: Callable[..., Path], live_script: Callable[..., Any], tmp_path: Path
) -> None:
    before, lines = load(None, trades=WARM_UP, seed=2), tmp_path / "lines.jsonl"
    shift_ns = time.time_ns() - 60 * 10**9 - int(before.ts_init[-1])
    shifted = replace(before, ts_event=before.ts_event + shift_ns, ts_init=before.ts_init + shift_ns)
    write_catalog(shifted, perpetual(before.instrument, fee_bps=0.5), tmp_path / "catalog")
    path = replay_file(f"mar:{tick_archive}", 60, node=f'catalog = "{tmp_path}/catalog"', end=witnessed(lines))
    path.write_text(path.read_text().replace("warm_up = 100", "warm_up = 0"))

    status, _, err = live_script(path).wait()

    assert status == 0, err
    numbers = [number for line in read_events(lines) if line["kind"] == "call" for number in line["numbers"]]
    assert sorted(numbers) == list(range(WARM_UP, WARM_UP + 60))
