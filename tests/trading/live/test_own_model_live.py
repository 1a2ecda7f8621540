"""A live run of a user's own model: filled from history, served by TorchServe, equal to the same data in a file."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import own_model
import pytest
from tcp_proxy import Proxy
from witness import read_events, witnessed

from nautilus_torchserve.audit.opening import existing_log
from nautilus_torchserve.audit.records import FillRecord, RequestRecord
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.release.build.archive import pack_run
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.serving.tokens import KEY_FILE
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.features.actor import FeatureActorConfig
from nautilus_torchserve.trading.features.arrays import feature_arrays
from nautilus_torchserve.trading.instruments.instruments import perpetual, write_catalog
from nautilus_torchserve.trading.live.parity.parity import compare_run
from nautilus_torchserve.trading.live.replay.recording import shifted
from nautilus_torchserve.trading.live.risk.guard import TradingHalted
from nautilus_torchserve.trading.live.run import run_live
from nautilus_torchserve.trading.live.settings_file import load_settings
from nautilus_torchserve.training.artefacts.run import Interface, write_artefact_run
from support import until

PAST = 40
"""Events before the first one that is played: history."""
CONFIG = """
[node]
settle_s = 0.05
log_level = "ERROR"
[market]
kind = "replay"
{market}
speed = {speed}
warm_up = {past}
[execution]
kind = "sandbox"
balance = "1000000 USD"
[model]
spec = "own_model:{spec}"
strategy = "own_model:Alternating"
[model.actor]
url = "{url}"
instrument_ids = ["SIMUSD.SIM"]
warm_up_ns = "7d"
[model.actor.live]
token_file = "{keys}"
max_rows = 4096
probe_after_ns = "50ms"
max_probe_after_ns = "100ms"
[strategy]
trade_size = "1"
on_failure = "hold"
[risk]
kill_file = "{folder}/kill"
state_file = "{folder}/day.json"
check_every_ms = 20
max_order_submit_rate = "1000/00:00:01"
[audit]
url = "parquet:{folder}/audit"
"""


@pytest.fixture(scope="module")
def archive(model_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    program = own_model.write_program(folder / "own.pt")
    run = folder / "run"
    run.mkdir()
    write_artefact_run(program, run, Interface(spec=own_model.TRADES))
    return pack_run("own", own_model.TRADES.handler, run, "1.0", model_store).path


@pytest.fixture(scope="module")
def server(tick_server: TorchServe, archive: Path) -> Iterator[TorchServe]:
    """A server with the model."""
    manager = tick_server.management()
    manager.register(archive.name, model_name="own")
    manager.wait_ready("own", "1.0")
    yield tick_server
    manager.unregister("own", "1.0")


def of_trades(folder: Path) -> tuple[str, Any]:
    return "simulate = 240", load(None, trades=240, seed=1)


def of_more_trades(folder: Path) -> tuple[str, Any]:
    return "simulate = 900", load(None, trades=900, seed=1)


def of_quotes(folder: Path) -> tuple[str, Any]:
    trades, path = load(None, trades=240, seed=2), folder / "quotes.csv"
    lines = ["exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount"]
    for time_us, cents in zip((trades.ts_event // 1000).tolist(), trades.price.tolist(), strict=True):
        lines.append(f"sim,SIMUSD,{time_us},{time_us + 7},5,{(cents + 1) / 100:.2f},{cents / 100:.2f},5")
    path.write_text("\n".join(lines) + "\n")
    return f'quotes = "{path}"\ninstruments = ["SIMUSD.SIM"]', load_quotes(path, "SIMUSD.SIM")


def of_bars(folder: Path) -> tuple[str, Any]:
    bars, path = load_bars(None, 90, 1), folder / "bars.csv"
    prices = np.stack([bars.open, bars.high, bars.low, bars.close], axis=1) / 100
    rows = [
        f"{close // 10**9 - 60},{','.join(f'{price:.2f}' for price in row)},{volume / 1000:.3f}"
        for close, row, volume in zip(bars.ts_event.tolist(), prices.tolist(), bars.volume.tolist(), strict=True)
    ]
    path.write_text("\n".join(["time,open,high,low,close,volume", *rows]) + "\n")
    return f'bars = ["{path}"]\ninstruments = ["SIMUSD.SIM"]', load_bars(path, 0, 1, "SIMUSD.SIM")


@pytest.mark.parametrize(
    ("spec", "market_of", "speed"),
    [
        ("TRADES", of_trades, 100),
        ("QUOTES", of_quotes, 100),
        ("BARS", of_bars, 6000),
        ("INTERNAL", of_more_trades, 500),
    ],
)
def test_predictions_and_rows_are_those_of_the_recorded_data(
    spec: str,
    market_of: Callable[[Path], tuple[str, Any]],
    speed: int,
    server: TorchServe,
    archive: Path,
    tmp_path: Path,
) -> None:
    market, data = market_of(tmp_path)
    path, log_path = tmp_path / "live.toml", f"parquet:{tmp_path}/audit"
    fields = {"url": server.inference_url, "keys": server.home / KEY_FILE, "folder": tmp_path}
    path.write_text(CONFIG.format(market=market, spec=spec, speed=speed, past=PAST, **fields))

    summary = run_live(load_settings(path))

    assert (summary["exit_status"], summary["replay"]["ended"]) == (0, True)
    assert summary["position"] == {"SIMUSD.SIM": "0"}
    requests = sorted(existing_log(log_path).read(RequestRecord), key=lambda request: request.question)
    shift_ns = summary["replay"]["shift_ns"]
    recorded = feature_arrays(f"own_model:{spec}", shifted(data, shift_ns))  # bars begin at whole times of the clock
    received = data.ts_event if spec == "BARS" else data.ts_init
    played = recorded.ts_init >= received[PAST] + shift_ns
    inputs = recorded.inputs[played]
    assert [request.ts_event for request in requests] == recorded.ts_event[played].tolist()
    assert np.array_equal([request.features for request in requests], inputs.reshape(len(inputs), -1))
    with connect(f"mar:{archive}", "own") as local:
        outputs = local.predict(inputs.copy()).outputs["up"]
    answered = [request.outputs.get("up") for request in requests]
    assert all(output in (None, expected) for output, expected in zip(answered, outputs.tolist(), strict=True))
    assert answered.count(None) < len(answered) / 10  # on a busy machine
    assert len(existing_log(log_path).read(FillRecord)) == summary["fills"] > 1


@pytest.mark.slow
def test_an_outage_a_stop_a_halt_and_a_restart(server: TorchServe, tmp_path: Path) -> None:
    path, lines, kill = tmp_path / "live.toml", tmp_path / "lines.jsonl", tmp_path / "kill"
    trades = load(None, trades=6000, seed=1)  # some 90 a second from here on
    ts = trades.ts_event[0] + (trades.ts_event - trades.ts_event[0]) // 20
    write_catalog(replace(trades, ts_event=ts, ts_init=ts), perpetual(trades.instrument, 0.5), tmp_path / "catalog")
    market = f'trades = "{tmp_path}/catalog"\ninstruments = ["SIMUSD.SIM"]'

    def answers(since: int = 0) -> int:
        calls = [line for line in read_events(lines)[since:] if line["kind"] == "call"]
        return sum(call["fates"].count("ANSWERED") for call in calls)

    def wait(condition: Callable[[], bool], what: str) -> None:
        until(lambda: lines.exists() and condition(), 20.0, what)

    def states() -> list[str]:
        return [line["state"] for line in read_events(lines) if line["kind"] == "health"]

    def interrupt_after_an_outage() -> None:
        wait(lambda: answers() > 20, "answers")
        proxy.cut()
        wait(lambda: states()[-1] == "open", "an open breaker")
        proxy.open()
        wait(lambda: states()[-1] == "closed", "a closed breaker")
        since = len(read_events(lines))
        wait(lambda: answers(since) > 20, "answers after the outage")
        os.kill(os.getpid(), signal.SIGINT)

    def halt_after_answers() -> None:
        wait(lambda: answers() > 20, "answers")
        kill.touch()

    def run(act: Callable[[], None], *, resume: bool = False) -> dict[str, Any]:
        lines.unlink(missing_ok=True)
        acting = threading.Thread(target=act)
        acting.start()
        try:
            return run_live(load_settings(path), resume)
        finally:
            acting.join()

    with Proxy(server.inference_url) as proxy:
        fields = {"url": proxy.url, "keys": server.home / KEY_FILE, "folder": tmp_path, "market": market, "past": PAST}
        path.write_text(CONFIG.format(spec="TRADES", speed=1, **fields) + witnessed(lines, "own"))
        stopped = run(interrupt_after_an_outage)
        halted = run(halt_after_answers)
        kill.unlink()
        with pytest.raises(TradingHalted):
            run_live(load_settings(path))
        resumed = run(
            lambda: (wait(lambda: answers() > 20, "answers"), os.kill(os.getpid(), signal.SIGINT)), resume=True
        )

    assert [summary["exit_status"] for summary in (stopped, halted, resumed)] == [0, 3, 0]
    assert [summary["flat"] for summary in (stopped, halted, resumed)] == [True] * 3
    assert [change["state"] for change in stopped["health"]][-3:] == ["open", "half_open", "closed"]
    assert stopped["questions"]["FAILED"] > 0
    assert min(summary["fills"] for summary in (stopped, halted, resumed)) > 1


def test_a_run_and_its_backtest_are_equal_and_other_features_are_not(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, trades = tmp_path / "live.toml", load(None, trades=300, seed=1)
    ts = trades.ts_event[0] + (trades.ts_event - trades.ts_event[0]) // 25  # some 110 a second
    dense = replace(trades, ts_event=ts, ts_init=ts)
    write_catalog(dense, perpetual(trades.instrument, 0.5), tmp_path / "catalog")
    market = f'trades = "{tmp_path}/catalog"\ninstruments = ["SIMUSD.SIM"]'
    fields = {"url": f"mar:{archive}", "keys": tmp_path, "folder": tmp_path, "market": market, "past": PAST}
    path.write_text(CONFIG.format(spec="TRADES", speed=1, **fields))
    summary = run_live(load_settings(path))
    log, stored = existing_log(f"parquet:{tmp_path}/audit"), load(tmp_path / "catalog", 0, 0)

    report = compare_run(log, stored, [f"mar:{archive}"], spec=own_model.TRADES)

    requests = report.predictions.requests
    assert (report.holds, report.lost, requests) == (True, 0, sum(summary["questions"].values()))
    assert report.predictions.features_equal == requests > 200
    assert report.predictions.outputs_equal == report.predictions.answered > 20  # a busy machine lets some expire
    assert report.orders.live == summary["orders"] > 1
    monkeypatch.setattr(own_model.Features, "update", own_model.rounded(own_model.Features.update))
    other = compare_run(log, stored, [f"mar:{archive}"], spec=own_model.TRADES)
    assert not other.holds
    assert other.predictions.features_equal < requests
    assert re.match(
        r"features from step \d, column 2: \S+ recorded, \S+ from the data", other.predictions.differences[0].what
    )


@pytest.mark.parametrize(
    ("data", "is_filled"),
    [
        (("trades",), True),
        (("quotes", "quotes:ETHUSDT.BINANCE"), True),
        (("trades", "bars:1-MINUTE-LAST-INTERNAL"), True),
        (("bars:1-MINUTE-MID-INTERNAL",), True),
        (("bars:1-MINUTE-LAST-EXTERNAL",), True),
        (("trades", "quotes"), False),
        (("trades", "bars:1-MINUTE-MID-INTERNAL"), False),
        (("trades", "bars:1-MINUTE-LAST-EXTERNAL"), False),
        (("depth",), False),
    ],
)
def test_features_of_one_kind_of_data_are_filled_from_history(
    data: tuple[str, ...], is_filled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(own_model.TRADES, features=replace(own_model.TRADES.features, data=data))
    monkeypatch.setattr(own_model, "SOME", spec, raising=False)
    fields = {"url": "mar:own.mar", "model": "own", "spec": "own_model:SOME", "instrument_ids": ["BTCUSDT.BINANCE"]}

    FeatureActorConfig(**fields)
    if is_filled:
        FeatureActorConfig(**fields, warm_up_ns=1)
    else:
        with pytest.raises(BadSetting, match="expected warm_up_ns of 0 for features of anything but trades"):
            FeatureActorConfig(**fields, warm_up_ns=1)


def test_a_size_that_would_be_rounded_is_refused_before_trading(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "live.toml"
    fields = {"market": "simulate = 240", "spec": "TRADES", "speed": 100, "past": PAST, "folder": tmp_path}
    text = CONFIG.format(**fields, url=f"mar:{archive}", keys=tmp_path)
    path.write_text(text.replace('trade_size = "1"', 'trade_size = "0.0015"'))

    summary = run_live(load_settings(path))

    assert summary["ending"].startswith(
        "not started: expected a trade_size in steps of 0.001 for SIMUSD.SIM, got 0.0015"
    )
    assert (summary["exit_status"], summary["orders"]) == (1, 0)
