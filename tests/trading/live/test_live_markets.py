"""Live runs on bars of several instruments, and through a data client that the file names."""

import signal
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from eager_archive import eager
from loopback_venue import LoopbackVenue
from nautilus_trader.model.identifiers import InstrumentId
from price_run import write_price_run
from witness import read_events, witnessed

from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Instrument
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.trading.backtest.bars.catalog import write_bar_catalog
from nautilus_torchserve.trading.bars.types import bar_type
from nautilus_torchserve.trading.instruments.instruments import perpetual

pytestmark = pytest.mark.slow

BARS, WARM_UP = 300, 100
SYMBOLS = ("AAAUSD", "CCCUSD")
BAR_CONFIG = """
[node]
settle_s = 0.05
[market]
kind = "replay"
bars = {files}
instruments = {names}
speed = 6000
warm_up = {warm_up}
[execution]
kind = "sandbox"
balance = "1000000 USD"
[model]
kind = "price"
[model.actor]
url = "mar:{archive}"
bar_types = {types}
warm_up_ns = "1d"
[strategy]
trade_size = "0.1"
min_confidence = 0.5
cost_bps = 0.0
[risk]
max_daily_loss = "100000"
{witness}
"""
ADAPTER_CONFIG = """
[node]
settle_s = 0.05
[market]
kind = "adapter"
name = "BINANCE"
factory = "nautilus_trader.adapters.binance:BinanceLiveDataClientFactory"
config_path = "nautilus_trader.adapters.binance:BinanceDataClientConfig"
[market.config]
account_type = "USDT_FUTURES"
base_url_http = "{http_url}"
base_url_ws = "{ws_url}"
instrument_provider = {{ load_all = true }}
[market.config_env]
api_key = "SOME_KEY"
api_secret = "SOME_SECRET"
[execution]
kind = "sandbox"
[model]
kind = "tick"
[model.actor]
url = "{url}"
instrument_id = "BTCUSDT-PERP.BINANCE"
[strategy]
trade_size = "0.01"
min_probability = 0.34
[risk]
max_daily_loss = "1000"
{witness}
"""


def test_bars_of_two_instruments_are_traded_after_their_warm_up(
    live_script: Callable[..., Any], tmp_path: Path
) -> None:
    archive = build_archive("price", write_price_run(tmp_path / "run"), "1.0", tmp_path).path
    files, types = [], []
    for seed, symbol in enumerate(SYMBOLS, start=1):
        bars = replace(load_bars(None, BARS, seed), instrument=Instrument(symbol, "SIM", 2, 3))
        of_type = bar_type(InstrumentId.from_str(f"{symbol}.SIM"), bars.interval_ns)
        folder = tmp_path / symbol
        write_bar_catalog(bars, perpetual(bars.instrument, 0.5), of_type, 1.0, folder)
        files.append(str(folder))
        types.append(str(of_type))
    lines = tmp_path / "lines.jsonl"
    config = tmp_path / "bars.toml"
    names = [f"{symbol}.SIM" for symbol in SYMBOLS]
    config.write_text(
        BAR_CONFIG.format(
            files=files, names=names, types=types, archive=archive, warm_up=WARM_UP, witness=witnessed(lines, "price")
        )
    )

    status, summary, err = live_script(config).wait()

    assert status == 0, err[-3000:]
    assert summary["replay"]["events"] == 2 * (BARS - WARM_UP)
    assert sum(summary["questions"].values()) == 2 * (BARS - WARM_UP)  # full windows from the first bar on
    assert summary["position"] == dict.fromkeys(names, "0")
    assert summary["fills"] > 0
    assert summary["fills_lost"] == 0
    for name, sides in summary["filled"].items():
        assert Decimal(sides["BUY"]) == Decimal(sides["SELL"]), name
    of_several = [call for call in read_events(lines) if call["kind"] == "call" and len(call["numbers"]) > 1]
    assert of_several


def test_any_data_client_may_be_named(tick_archive: Path, live_script: Callable[..., Any], tmp_path: Path) -> None:
    simulated = load(None, 4000, seed=1)
    ts = simulated.ts_event[0] + (simulated.ts_event - simulated.ts_event[0]) // 20
    trades = replace(simulated, instrument=Instrument("BTCUSDT", "BINANCE", 2, 3), ts_event=ts, ts_init=ts)
    lines, config = tmp_path / "lines.jsonl", tmp_path / "adapter.toml"
    with LoopbackVenue(trades) as venue:
        url = f"mar:{eager(tick_archive, tmp_path)}"
        config.write_text(
            ADAPTER_CONFIG.format(http_url=venue.http_url, ws_url=venue.ws_url, url=url, witness=witnessed(lines))
        )
        run = live_script(config, SOME_KEY="key", SOME_SECRET="secret")
        run.until_filled(lines)
        run.process.send_signal(signal.SIGINT)
        status, summary, err = run.wait()

    assert status == 0, err[-3000:]
    assert summary["position"] == {"BTCUSDT-PERP.BINANCE": "0"}
    assert summary["fills_lost"] == 0
    assert "/fapi/v1/exchangeInfo" in venue.requests
