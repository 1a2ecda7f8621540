"""Backtests and a replay on a host that only trades, with the newest NautilusTrader 1.x: its numbers are those of here.

``make test-trading`` makes that host's environment: another Python, no torch, no TorchServe.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nautilus_torchserve.serving.server.torchserve import ServerSettings, TorchServe, start_server
from nautilus_torchserve.serving.tokens import KEY_FILE, inference_token
from support import PROJECT, call_script

TRADING_HOST = PROJECT / ".venv-trading/bin/python"
SCRIPT = PROJECT / "scripts/backtest.py"
MEASURED = {"elapsed_s", "trades_per_s", "bars_per_s", "latency_ms"}
"""Fields that differ from run to run."""
ENGINE_AGGREGATED = """
import json, sys, tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
from nautilus_trader.backtest.config import BacktestDataConfig, BacktestEngineConfig, BacktestRunConfig
from nautilus_trader.backtest.config import BacktestVenueConfig
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.data import BarType, QuoteTick, TradeTick

from nautilus_torchserve.market.trades.trades import implied_quotes
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.trading.bars.actor import BarInferenceActorConfig
from strategies.bar_strategy import BarStrategyConfig
from nautilus_torchserve.trading.instruments.instruments import perpetual, write_catalog
from nautilus_torchserve.trading.backtest.engine import importable_actor, importable_strategy

trades = load(None, 40_000, 3, None)
instrument = perpetual(trades.instrument, 0.0)
actor = BarInferenceActorConfig(
    bar_types=[BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-INTERNAL")], max_gap_ns=60 * 10**9, url=sys.argv[1]
)
strategy = BarStrategyConfig(
    instrument_id=instrument.id, trade_size=Decimal("0.001"), horizon_ns=60 * 10**9, cost_bps=0.0, min_confidence=0.5
)
venue = BacktestVenueConfig(
    name=instrument.id.venue.value, oms_type="NETTING", account_type="MARGIN",
    starting_balances=[f"100000 {instrument.quote_currency.code}"],
    trade_execution=False, bar_execution=False,
)
with tempfile.TemporaryDirectory() as folder:
    write_catalog(trades, instrument, Path(folder))
    data = [
        BacktestDataConfig(catalog_path=folder, data_cls=kind, instrument_id=instrument.id)
        for kind in (TradeTick, QuoteTick)
    ]
    engine = BacktestEngineConfig(
        actors=[importable_actor(actor)], strategies=[importable_strategy(strategy)],
        logging=LoggingConfig(log_level="ERROR"),
    )
    node = BacktestNode([BacktestRunConfig(
        engine=engine, venues=[venue], data=data, raise_exception=True, dispose_on_completion=False
    )])
    node.run()
    orders = [order for order in node.get_engines()[0].cache.orders() if order.is_closed and order.tags]
bid, ask = implied_quotes(trades)
in_time = 0
for order in orders:
    at = int(np.searchsorted(trades.ts_init, order.ts_init, side="right")) - 1
    price = (ask if order.side.name == "BUY" else bid)[at] / 10**trades.instrument.price_precision
    in_time += bool(order.ts_last == order.ts_init and abs(order.avg_px - price) < 1e-9)
print(json.dumps({"orders": len(orders), "in_time": int(in_time)}))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TRADING_HOST.exists(), reason="no .venv-trading: make test-trading makes it"),
]


@pytest.fixture(scope="module")
def server(eager_archive: Path, price_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    """A server with a tick and a price model."""
    store = tmp_path_factory.mktemp("store")
    for archive in (eager_archive, price_archive):
        (store / archive.name).hardlink_to(archive)
    models = {"tick": eager_archive.name, "price": price_archive.name}
    settings = ServerSettings(models, store, tmp_path_factory.mktemp("home"), free_ports=True)
    with start_server(settings) as running:
        yield running


def run_there(server: TorchServe, *arguments: str | Path) -> Any:
    """Return the JSON that the newest NautilusTrader's environment prints."""
    token = inference_token(server.home / KEY_FILE)
    result = subprocess.run(
        [TRADING_HOST, *arguments],
        cwd=PROJECT,
        env={**os.environ, "TORCHSERVE_TOKEN": token, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def without_measured(summary: Any) -> Any:
    """Leave out what was measured, of each instrument too."""
    if isinstance(summary, list):
        return [without_measured(part) for part in summary]
    if isinstance(summary, dict):
        return {name: without_measured(value) for name, value in summary.items() if name not in MEASURED}
    return summary


@pytest.mark.parametrize("mode", ["inline", "prefetch"])
@pytest.mark.parametrize(
    "options",
    [
        ("tick", "--trades", "3000", "--in-sample"),
        ("price", "--bars", "600", "--min-confidence", "0.5", "--cost-bps", "0"),
    ],
    ids=["tick", "price"],
)
def test_a_backtest_gives_the_same_numbers(options: tuple[str, ...], mode: str, server: TorchServe) -> None:
    command = (SCRIPT, *options, "--mode", mode, "--url", server.inference_url, "--json")

    there = run_there(server, *command)

    result = call_script(*command, "--token-file", server.home / KEY_FILE)
    assert result.exit_code == 0, result.stderr
    here = json.loads(result.stdout)
    assert without_measured(there) == without_measured(here)
    assert here["orders"] > 20


def test_predictions_on_bars_that_the_engine_aggregates_are_traded_in_time(server: TorchServe) -> None:
    counts = run_there(server, "-c", ENGINE_AGGREGATED, server.inference_url)

    assert counts["in_time"] == counts["orders"] > 20


def test_a_replay_requests_every_trade(server: TorchServe, replay_file: Callable[..., Path]) -> None:
    path = replay_file(server.inference_url, trades=400)

    summary = run_there(server, PROJECT / "scripts/live.py", path, "--json")

    assert sum(summary["questions"].values()) == 300  # 100 warm up
    assert summary["questions"]["ANSWERED"] > 200
    assert summary["orders"] > 0
