"""Stopping a live run: signals, the kill switch, the loss limit, and what the next start makes of it."""

import signal
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from eager_archive import eager
from witness import read_events, witnessed

from nautilus_torchserve.audit.verification import verify
from nautilus_torchserve.serving.http_session import HttpSession
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.serving.tokens import KEY_FILE, read_key

pytestmark = pytest.mark.slow

HALTED, MODEL_LOST, AUDIT_INCOMPLETE = 3, 4, 5
LONG = {"trades": 6_000, "speed": 20.0}
"""Long enough to be stopped."""
QUIET = 'log_level = "ERROR"'
"""So that the script, whose stderr is read at its end, is never held up by it."""


@pytest.fixture(scope="module")
def url(tick_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"mar:{eager(tick_archive, tmp_path_factory.mktemp('eager'))}"


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """File that the witness writes."""
    return tmp_path / "lines.jsonl"


def test_signal_halts_until_the_user_resumes_trading(
    url: str, replay_file: Callable[..., Path], live_script: Callable[..., Any], lines: Path, tmp_path: Path
) -> None:
    state = f'state_file = "{tmp_path}/day.json"'
    file = replay_file(url, **LONG, risk=state, end=witnessed(lines))

    run = live_script(file)
    run.until_filled(lines)
    run.process.send_signal(signal.SIGUSR1)
    status, summary, err = run.wait()

    assert status == HALTED, err[-3000:]
    assert summary["halted"] == "signal SIGUSR1"
    assert summary["flat"]
    assert summary["position"] == {"SIMUSD.SIM": "0"}
    assert Decimal(summary["pnl"]) != 0

    status, summary, err = live_script(file).wait()

    assert (status, summary) == (HALTED, {})
    assert "trading was halted today: signal SIGUSR1; --resume goes on" in err

    lines.unlink()
    run = live_script(file, "--resume")
    run.until_filled(lines)
    run.process.send_signal(signal.SIGTERM)
    status, summary, err = run.wait()

    assert status == 0, err[-3000:]
    assert summary["ending"] == "signal SIGTERM"
    assert summary["position"] == {"SIMUSD.SIM": "0"}


def test_kill_file_halts_and_prevents_new_runs(
    url: str, replay_file: Callable[..., Path], live_script: Callable[..., Any], lines: Path, tmp_path: Path
) -> None:
    kill = tmp_path / "kill"
    file = replay_file(url, **LONG, risk=f'kill_file = "{kill}"', end=witnessed(lines))

    run = live_script(file)
    run.until_filled(lines)
    kill.touch()
    status, summary, err = run.wait()

    assert status == HALTED, err[-3000:]
    assert summary["halted"] == f"kill file {kill}"
    assert summary["position"] == {"SIMUSD.SIM": "0"}
    after = [line for line in read_events(lines) if line["kind"] == "decision" and line["why"].startswith("halted")]
    assert not [line for line in after if line["order"]]

    status, _, err = live_script(file).wait()

    assert status == 2
    assert "expected no kill file at the start" in err


def test_daily_loss_ends_the_run(
    url: str, replay_file: Callable[..., Path], live_script: Callable[..., Any], tmp_path: Path
) -> None:
    dear = "fee_bps = 50"  # 20 USD for the first order
    file = replay_file(url, **LONG, market=dear, risk='max_daily_loss = "5"')

    status, summary, err = live_script(file).wait()

    assert status == HALTED, err[-3000:]
    assert summary["halted"].startswith("daily loss of ")
    assert Decimal(summary["pnl"]) <= -5
    assert summary["flat"]


def test_positions_stay_where_the_file_keeps_them(
    url: str, replay_file: Callable[..., Path], live_script: Callable[..., Any], lines: Path
) -> None:
    file = replay_file(url, **LONG, node="flatten_on_stop = false", end=witnessed(lines))

    run = live_script(file)
    run.until_filled(lines)
    run.process.send_signal(signal.SIGINT)
    status, summary, err = run.wait()

    assert status == 0, err[-3000:]
    filled = {side: Decimal(quantity) for side, quantity in summary["filled"]["SIMUSD.SIM"].items()}
    assert Decimal(summary["position"]["SIMUSD.SIM"]) == filled["BUY"] - filled["SELL"]
    assert Decimal(summary["position"]["SIMUSD.SIM"]) != 0
    assert summary["fills_lost"] == 0


def test_a_run_waits_for_its_model_where_the_file_allows_it(
    replay_file: Callable[..., Path], live_script: Callable[..., Any], lines: Path
) -> None:
    unreachable = "http://127.0.0.1:9"

    status, summary, err = live_script(replay_file(unreachable)).wait()

    assert (status, summary) == (1, {})
    assert "127.0.0.1:9" in err

    file = replay_file(unreachable, end=witnessed(lines))
    file.write_text(file.read_text().replace('kind = "tick"', 'kind = "tick"\nwait_for_model = true'))
    status, summary, err = live_script(file).wait()

    assert status == MODEL_LOST, err[-3000:]
    assert "error: the run ended without its model: " in err
    assert set(summary["questions"]) == {"FAILED"}
    assert summary["failed"]
    assert summary["model_lost"]["failed"] == summary["questions"]["FAILED"]
    assert "http://127.0.0.1:9: Unavailable" in summary["model_lost"]["why"]
    assert sum(summary["questions"].values()) == summary["replay"]["events"]
    assert summary["orders"] == 0
    assert summary["connected"] is None


def test_a_fallback_serves_predictions_where_the_first_server_is_gone(
    tick_server: TorchServe, replay_file: Callable[..., Path], live_script: Callable[..., Any]
) -> None:
    fallback = f'live = {{ fallback_urls = ["{tick_server.inference_url}"] }}'
    file = replay_file("http://127.0.0.1:9", trades=300, actor=fallback)
    assert tick_server.token is not None

    status, summary, err = live_script(file, TORCHSERVE_TOKEN=tick_server.token).wait()

    assert status == 0, err[-3000:]
    assert summary["connected"]["version"] == "1.0"
    assert summary["questions"]["ANSWERED"] > 0
    assert {line["url"] for line in summary["health"] if line["state"] == "closed"} == {tick_server.inference_url}


def test_a_run_whose_fixed_token_expires_reports_the_loss_of_its_model(
    tick_server: TorchServe, replay_file: Callable[..., Path], live_script: Callable[..., Any], lines: Path
) -> None:
    file = replay_file(tick_server.inference_url, **LONG, node=QUIET, end=witnessed(lines))
    assert tick_server.token is not None

    run = live_script(file, TORCHSERVE_TOKEN=tick_server.token)
    run.until(lambda: lines.exists() and any("ANSWERED" in outcomes for outcomes in fates(lines)), "an answer")
    renew(tick_server)
    answered = len(fates(lines))
    run.until(lambda: len(fates(lines)) > answered + 20 and set(fates(lines)[-1]) == {"FAILED"}, "failures")
    run.process.send_signal(signal.SIGINT)
    status, summary, err = run.wait()

    assert status == MODEL_LOST, err[-3000:]
    assert "the token of TORCHSERVE_TOKEN ends when the server restarts" in " ".join(err.split())
    assert summary["failed"]
    assert summary["exit_status"] == MODEL_LOST
    assert 10 <= summary["model_lost"]["failed"] <= summary["questions"]["FAILED"]
    assert "Unauthorized" in summary["model_lost"]["why"]
    assert summary["started"] < summary["model_lost"]["since"] < summary["ended"]


def test_a_run_with_a_key_file_follows_a_renewal(
    tick_server: TorchServe, replay_file: Callable[..., Path], live_script: Callable[..., Any], lines: Path
) -> None:
    live = f'live = {{ token_file = "{tick_server.home}/key_file.json" }}'
    file = replay_file(tick_server.inference_url, actor=live, **LONG, node=QUIET, end=witnessed(lines))

    run = live_script(file)
    run.until(lambda: lines.exists() and any("ANSWERED" in outcomes for outcomes in fates(lines)), "an answer")
    renew(tick_server)
    renewed = len(fates(lines))
    run.until(lambda: len(fates(lines)) > renewed + 50, "calls after the renewal")
    run.process.send_signal(signal.SIGINT)
    status, summary, err = run.wait()

    assert status == 0, err[-3000:]
    assert summary["model_lost"] is None
    assert summary["exit_status"] == 0
    failed = [line["error"] for line in read_events(lines) if line["kind"] == "call" and "FAILED" in line["fates"]]
    assert all(error.startswith("Stopped:") for error in failed)  # what the end cut off


def test_a_full_disk_under_the_audit_log_is_in_summary_and_status(
    url: str, replay_file: Callable[..., Path], live_script: Callable[..., Any], small_disk: Path, lines: Path
) -> None:
    (small_disk / "filler").write_bytes(bytes(80 << 10))
    audit = f'[audit]\nurl = "parquet:{small_disk}/audit"\n'
    run = live_script(replay_file(url, **LONG, node=QUIET, end=audit + witnessed(lines)))

    run.until(lambda: lines.exists() and len(fates(lines)) > 60, "calls")
    run.process.send_signal(signal.SIGINT)
    status, summary, err = run.wait()

    assert status == AUDIT_INCOMPLETE, err[-3000:]
    assert summary["failed"]
    assert summary["audit"]["missing"] > 0
    assert summary["started"] <= summary["audit"]["since"] <= summary["ended"]
    assert "No space left on device" in summary["audit"]["why"]
    assert f"lacks {summary['audit']['missing']} records since {summary['audit']['since']}" in err
    verification = verify(small_disk / "audit", summary["audit"]["last_hash"])
    assert verification.findings == ()


def fates(lines: Path) -> list[list[str]]:
    """Return the outcomes of each call that the witness has recorded."""
    return [line["fates"] for line in read_events(lines) if line["kind"] == "call"]


def renew(server: TorchServe) -> None:
    """Renew the key as another process does; the inference token before is refused from now on."""
    url = f"{server.management_url}/token?type=inference"
    with HttpSession() as session:
        api_key = read_key(server.home / KEY_FILE, "API").token
        assert session.fetch("GET", url, 10.0, headers={"Authorization": f"Bearer {api_key}"})[0] == 200
