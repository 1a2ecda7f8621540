"""Real execution through Binance's adapter, against a venue on this machine that takes the orders."""

import signal
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from eager_archive import eager
from trading_venue import TradingVenue

from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Instrument, Trades

pytestmark = pytest.mark.slow

CONFIG = """
[node]
settle_s = 0.5
connect_within_s = 20.0
[market]
kind = "binance"
environment = "live"
http_url = "{http_url}"
ws_url = "{ws_url}"
api_key_env = "LOOPBACK_KEY"
api_secret_env = "LOOPBACK_SECRET"
[execution]
kind = "binance"
countdown_s = 0.5
leverages = {{ BTCUSDT = 2 }}
[model]
kind = "tick"
[model.actor]
url = "{url}"
instrument_id = "BTCUSDT-PERP.BINANCE"
warm_up_ns = "1h"
[strategy]
trade_size = "0.1"
max_position = "0.1"
min_probability = 0.34
cooldown_ns = "200ms"
[risk]
max_daily_loss = "5000"
state_file = "{folder}/day.json"
[risk.max_notional_per_order]
"BTCUSDT-PERP.BINANCE" = {most}
"""


@pytest.fixture(scope="module")
def trades() -> Trades:
    """Some 90 trades a second, at 40,000 USDT."""
    simulated = load(None, 6000, seed=1)
    ts = simulated.ts_event[0] + (simulated.ts_event - simulated.ts_event[0]) // 20
    return replace(simulated, instrument=Instrument("BTCUSDT", "BINANCE", 2, 3), ts_event=ts, ts_init=ts)


@pytest.fixture(scope="module")
def url(tick_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"mar:{eager(tick_archive, tmp_path_factory.mktemp('eager'))}"


def run_until(
    done: Callable[[str], bool], venue: TradingVenue, live_script: Callable[..., Any], url: str, folder: Path, most: int
) -> tuple[int, dict[str, Any], str]:
    """Run with real orders until ``done``, which takes the text of the log, is true; then press Ctrl-C."""
    config = folder / "live.toml"
    config.write_text(CONFIG.format(http_url=venue.http_url, ws_url=venue.ws_url, url=url, folder=folder, most=most))
    log = folder / "log"
    log.mkdir()
    config.write_text(config.read_text().replace("[node]", f'[node]\nlog_folder = "{log}"'))
    run = live_script(config, "--real", LOOPBACK_KEY="key", LOOPBACK_SECRET="secret")
    run.until(lambda: done("".join(path.read_text() for path in log.glob("*"))), "the condition on the log")
    run.process.send_signal(signal.SIGINT)
    return run.wait()


@pytest.mark.parametrize("held", [Decimal("0"), Decimal("0.050")], ids=["flat account", "account with a position"])
def test_orders_reach_the_venue_and_leave_it_flat(
    trades: Trades, url: str, live_script: Callable[..., Any], tmp_path: Path, held: Decimal
) -> None:
    with TradingVenue(trades, held) as venue:
        status, summary, err = run_until(lambda log: len(venue.orders) >= 3, venue, live_script, url, tmp_path, 20_000)

    assert status == 0, err[-3000:]
    assert err.startswith("REAL ORDERS\n")
    for limit in ("largest position  0.1", "BTCUSDT-PERP.BINANCE 20000", "daily loss        5000"):
        assert limit in err
    assert venue.position == 0
    assert venue.leverages == {"BTCUSDT": 2}
    assert summary["real"]
    assert summary["position"] == {"BTCUSDT-PERP.BINANCE": "0"}
    assert summary["fills_lost"] == 0
    assert summary["fills"] == len(venue.orders) + (held > 0)  # a position found is booked as a fill
    quantities = [Decimal(order["quantity"]) for order in venue.orders]
    assert quantities[0] in (Decimal("0.1"), Decimal("0.1") + held, Decimal("0.1") - held)
    assert max(quantities) <= Decimal("0.2")


def test_orders_above_the_largest_value_never_leave(
    trades: Trades, url: str, live_script: Callable[..., Any], tmp_path: Path
) -> None:
    with TradingVenue(trades) as venue:
        status, summary, err = run_until(lambda log: "OrderDenied" in log, venue, live_script, url, tmp_path, 1_000)

    assert status == 0, err[-3000:]
    assert venue.orders == []
    assert set(summary["orders_by_status"]) == {"DENIED"}
