"""scripts/explain.py as a person or a CI job calls it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.serving.tokens import KEY_FILE
from support import PROJECT, call_script, script_app

SCRIPT = "scripts/explain.py"
APP = script_app(PROJECT / SCRIPT)
ROW = ("-1.5", "0.4", "0.5", "0.2")


def printed_json(*arguments: str | Path) -> dict:
    result = CliRunner().invoke(APP, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_row_is_explained_in_words_and_bars(tick_archive: Path) -> None:
    result = CliRunner().invoke(APP, ["tick", "--url", f"mar:{tick_archive}", "--output", "buy", *ROW])

    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    assert words.startswith("The probability of BUY is 0.")
    assert "The attributions add up to the difference" in words
    assert "\N{FULL BLOCK}" in result.stdout


def test_requests_carry_the_token_of_the_servers_key_file(tick_server: TorchServe) -> None:
    url, keys = tick_server.inference_url, tick_server.home / KEY_FILE

    (explanation,) = printed_json("tick", "--url", url, "--token-file", keys, *ROW)["explanations"]

    assert [round(feature["value"], 4) for feature in explanation["features"]] == [float(value) for value in ROW]


def test_the_last_window_is_explained(news_archives: dict[str, Path]) -> None:
    (explanation,) = printed_json("price", "--url", f"mar:{news_archives['price']}", "--seed", "3")["explanations"]

    assert explanation["output"] == "return_bps"
    assert len(explanation["window"]) == 60


def test_texts_are_explained(news_archives: dict[str, Path]) -> None:
    url = f"mar:{news_archives['sentiment']}"

    explanations = printed_json("sentiment", "Profit rose", "The bank warns", "--url", url)["explanations"]

    assert [text["text"] for text in explanations] == ["Profit rose", "The bank warns"]


@pytest.mark.parametrize("texts", [(), ("Profit rose", "The bank warns")])
def test_a_window_with_its_news_is_explained(news_archives: dict[str, Path], texts: tuple[str, ...]) -> None:
    (explanation,) = printed_json("ensemble", *texts, "--url", f"mar:{news_archives['ensemble']}")["explanations"]

    assert [text["text"] for text in (explanation["news"] or {"texts": []})["texts"]] == list(texts)


def test_a_past_trade_is_explained_from_the_report_alone(tick_archive: Path, tmp_path: Path) -> None:
    few = ("--trades", "6000", "--min-probability", "0.34", "--in-sample")
    ran = call_script("scripts/backtest.py", "tick", "--url", f"mar:{tick_archive}", *few, "--report", tmp_path / "x")
    assert ran.exit_code == 0, ran.stderr

    shown = CliRunner().invoke(APP, ["trade", str(tmp_path / "x"), "--trade", "1"])
    best = printed_json("trade", tmp_path / "x")
    wrong = CliRunner().invoke(APP, ["trade", str(tmp_path / "x"), "--trade", "100000"])

    assert shown.stdout.startswith("Trade 1 on SIMUSD.SIM: ")
    trades = json.loads((tmp_path / "x" / "trades.json").read_text())["trades"]
    assert best["trade"]["pnl"] == max(trade["pnl"] for trade in trades)
    assert best["explanation"]["output"] == best["trade"]["side"].lower()
    assert wrong.exit_code == 1
    assert f"expected trade 1 to {len(trades)}, got 100000" in wrong.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("tick", "--url", "http://127.0.0.1:9", *ROW), "Could not connect"),
        (("tick", "--url", "mar:nowhere.mar", *ROW), "nowhere.mar: expected a model archive, got no file"),
        (("trade", "nowhere"), "trades.json, which the report of one instrument has"),
    ],
)
def test_a_failed_job_prints_its_reason_in_one_line(arguments: tuple[str, ...], reason: str) -> None:
    result = CliRunner().invoke(APP, list(arguments))

    assert result.exit_code == 1
    assert result.stdout == ""
    assert reason in result.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("tick", "--output", "rally", *ROW), "expected output buy, sell, hold to explain, got 'rally'"),
        (("tick", "1", "2"), "expected rows of shape [n, 4], got [1, 2]"),
        (("price", "--model", "tick"), "expected a model of bars, got one that takes rows"),
    ],
)
def test_an_input_that_a_model_refuses_is_reported(tick_archive: Path, arguments: tuple[str, ...], reason: str) -> None:
    result = CliRunner().invoke(APP, [arguments[0], "--url", f"mar:{tick_archive}", *arguments[1:]])

    assert result.exit_code == 1
    assert reason in result.stderr
