"""scripts/live.py: what it refuses before anything is started, and what it says first."""

from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from nautilus_torchserve.trading.live.node import announcement
from nautilus_torchserve.trading.live.settings_file import load_settings
from support import PROJECT, script_app

EXAMPLES = PROJECT / "deploy/live"


@pytest.fixture(scope="module")
def app() -> Typer:
    return script_app(PROJECT / "scripts/live.py")


def test_real_orders_are_refused_without_the_flag(app: Typer) -> None:
    result = CliRunner().invoke(app, [str(EXAMPLES / "binance-real.toml")])

    assert result.exit_code == 2
    assert "expected --real with real execution, got none" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["replay", "binance-paper", "binance-testnet-paper"])
def test_the_flag_is_refused_on_paper(app: Typer, name: str) -> None:
    result = CliRunner().invoke(app, [str(EXAMPLES / f"{name}.toml"), "--real"])

    assert result.exit_code == 2
    assert "expected real execution with --real, got a sandbox" in result.stderr


def test_an_unusable_file_is_an_invalid_argument(app: Typer, tmp_path: Path) -> None:
    path = tmp_path / "live.toml"
    path.write_text("[market]\nkind = 'replay'\n")

    result = CliRunner().invoke(app, [str(path)])

    assert result.exit_code == 2
    assert (
        f"error: {path}: market: expected one of trades, quotes, bars and simulate, or trades and quotes, got none"
        in result.stderr
    )


def test_limits_are_printed_before_real_orders(app: Typer) -> None:
    summary = announcement(load_settings(EXAMPLES / "binance-real.toml"))

    for expected in ("REAL ORDERS", "BTCUSDT-PERP.BINANCE", "0.002", "2/00:00:01", "500", "25", "/run/nautilus/kill"):
        assert expected in summary
