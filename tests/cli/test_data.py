"""The command `data inspect`: what it prints, and its exit status."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nautilus_torchserve.cli.data import app

TRADES = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n" + "".join(
    f"kraken,XBT/USD,170406720{at}000000,170406720{at}005000,{at},{side},6099{at}.5,0.25\n"
    for at, side in ((2, "buy"), (1, "sell"), (3, "unknown"), (3, "unknown"))
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "trades.csv"
    path.write_text(TRADES)
    return path


def test_inspect_prints_what_was_recognised_what_is_odd_and_the_first_rows(path: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(path), "--json", "--rows", "1"])

    inspection = json.loads(result.stdout)
    (file,) = inspection["files"]
    assert (file["layout"], file["kind"], file["rows"], file["decimal"]) == ("tardis-trades", "trades", 4, "point")
    assert file["columns"]["received"] == "local_timestamp"
    assert (inspection["instrument"], inspection["rows"], inspection["refused"]) == ("XBT/USD.KRAKEN", 3, None)
    assert inspection["findings"] == [
        "Longest break: 1.000 s, from 2024-01-01T00:00:01Z, line 2.",
        "Receipt after the event: median 5.000 ms, most 5.000 ms.",
        "1 of 3 trades have no known aggressor.",
        "trades.csv: 1 of 4 rows repeat an earlier one and were left out.",
        "trades.csv: 2 of 3 rows were not in order of time and were sorted.",
    ]
    assert inspection["head"] == [
        {
            "time": "2024-01-01T00:00:01Z",
            "received": "2024-01-01T00:00:01.005Z",
            "price": "60991.5",
            "size": "0.25",
            "side": "-1",
            "id": "1",
        }
    ]


def test_inspect_prints_text_without_json(path: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(path)])

    assert result.exit_code == 0
    assert "trades.csv: Tardis trades (tardis-trades), 4 rows, decimal point" in result.stdout
    assert "XBT/USD.KRAKEN: 3 trades, 2024-01-01T00:00:01Z to 2024-01-01T00:00:03Z" in result.stdout
    assert result.stdout.splitlines()[-1].split() == [
        *("2024-01-01T00:00:03Z", "2024-01-01T00:00:03.005Z", "60993.5", "0.25", "+0", "3")
    ]


@pytest.mark.parametrize(
    "rows",
    [
        "timestamp,open,high,low,close,volume\n1704067200,40,40,40,40,1\n1704067260,20,20,20,20,1\n1704067320,20,20,20,20,1\n",
        "symbol,timestamp,id,side,price,amount\nACME.X,1704067200,1,buy,100,1\nACME.X,1704067201,2,buy,50,1\n",
    ],
    ids=["bars", "trades"],
)
def test_prices_that_jump_cannot_be_used_unless_they_are_let_through(rows: str, tmp_path: Path) -> None:
    path = tmp_path / "ACME.csv"
    path.write_text(rows)

    refused = CliRunner().invoke(app, ["inspect", str(path), "--json"])
    admitted = CliRunner().invoke(app, ["inspect", str(path), "--json", "--allow-jumps"])

    assert (refused.exit_code, admitted.exit_code) == (1, 0)
    assert "--allow-jumps" in json.loads(refused.stdout)["refused"]
    assert any("let through" in finding for finding in json.loads(admitted.stdout)["findings"])


def test_inspect_ends_with_status_1_where_the_data_cannot_be_used(path: Path) -> None:
    path.write_text(TRADES + TRADES.splitlines()[-1].replace("60993", "60994") + "\n")

    result = CliRunner().invoke(app, ["inspect", str(path), "--json"])

    assert result.exit_code == 1
    refused = json.loads(result.stdout)["refused"]
    assert refused.startswith(
        "trades.csv: line 6: expected one row for a trade id (remove the wrong one), got trade id 3"
    )
    assert result.stderr == f"error: {refused}\n"
