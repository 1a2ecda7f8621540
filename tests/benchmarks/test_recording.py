"""Recording the latencies of a real server: an open loop, under real arrivals, into a profile."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.arrivals import FEWEST, parse_arrivals, rows_of
from benchmarks.load import LoadFailed
from benchmarks.open_loop import MOST_UNDER_WAY, OpenLoop
from benchmarks.recording import ServedModel, record
from nautilus_torchserve.features.bar import bar_schema
from nautilus_torchserve.features.tick import TickFeatures, tick_schema
from nautilus_torchserve.inference.model_files import read_description
from nautilus_torchserve.latency.choice import QueuedDelay
from nautilus_torchserve.latency.profile import load_profile
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.serving.tokens import KEY_FILE
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.wire.body import BINARY, encode_rows
from support import REAL_DATA, call_script, run_script

SCRIPT = "scripts/bench_serving.py"
MS = 1_000_000
REAL_TRADES = REAL_DATA / "btcusdt_perp_trades_2020-02-22.csv"
real_trades = pytest.mark.skipif(not REAL_TRADES.is_file(), reason="real market data are elsewhere")


def loop_to(server: TorchServe, model: str) -> OpenLoop:
    url = f"{server.inference_url}/predictions/{model}"
    return OpenLoop(url, [f"Content-Type: {BINARY}", f"Authorization: Bearer {server.token}"])


def test_requests_leave_in_time_while_earlier_ones_wait(tick_server: TorchServe, rows: np.ndarray) -> None:
    due_ns = np.arange(4) * 20 * MS

    with loop_to(tick_server, "tick-batched") as loop:  # which waits a second for further requests
        exchanges = loop.send([encode_rows(rows[:1])], due_ns)

    assert exchanges.sent_ns.max() < exchanges.answered_ns.min()
    assert (exchanges.lag_ns >= 0).all()
    assert (exchanges.latency_ns == exchanges.answered_ns - due_ns).all()


def test_bodies_are_sent_in_turn(tick_server: TorchServe) -> None:
    good, bad = encode_rows(np.zeros((1, 4), np.float32)), b"odd"

    with loop_to(tick_server, "tick") as loop:
        loop.send([good, bad], np.zeros(1, np.int64))
        with pytest.raises(LoadFailed, match="expected status 200, got 400"):
            loop.send([good, bad], np.zeros(2, np.int64))


def test_a_server_that_does_not_keep_up_is_no_measurement(tick_server: TorchServe, rows: np.ndarray) -> None:
    with (
        loop_to(tick_server, "tick-batched") as loop,
        pytest.raises(LoadFailed, match="does not keep up"),
    ):
        loop.send([encode_rows(rows)], np.zeros(4 * MOST_UNDER_WAY, np.int64))


def test_no_server_is_no_recording() -> None:
    with OpenLoop("http://127.0.0.1:9/predictions/tick", []) as loop, pytest.raises(LoadFailed, match="connect"):
        loop.send([b""], np.zeros(1, np.int64))


def test_a_recording_describes_itself_and_replays(tick_server: TorchServe) -> None:
    url, token = tick_server.inference_url, tick_server.token
    arrivals = parse_arrivals("poisson:100", seconds=1.5, speed=1)

    profile = record(ServedModel(url, "tick", None, token, workers=1), arrivals)

    with connect(url, "tick", token=token) as client:
        metadata = client.metadata
    about = profile.about
    assert (about["model"], about["version"], about["digest"]) == ("tick", "1.0", metadata.archive_digest)
    assert (about["arrivals"], about["requests"]) == ("Poisson, 100/s", len(arrivals.due_ns))
    assert len(profile.service_ns) == len(arrivals.due_ns)
    assert about["service_ms"]["p50"] <= about["latency_ms"]["p50"] <= about["latency_ms"]["p99"]
    assert 0 < about["utilisation"] < 1
    delay = QueuedDelay(profile, profile.workers, seed=1)
    apart = np.arange(1000) * 10 * int(profile.service_ns.max())
    assert set((delay.due_many(apart) - apart).tolist()) <= set(profile.service_ns.tolist())


def test_poisson_arrivals_come_at_their_rate_and_the_same_each_time() -> None:
    arrivals, again = (parse_arrivals("poisson:500", seconds=20, speed=1) for _ in range(2))

    gaps_ns = np.diff(arrivals.due_ns)
    assert arrivals.due_ns[0] == 0
    assert arrivals.due_ns[-1] < 20e9
    assert gaps_ns.mean() == pytest.approx(2e6, rel=0.06)  # six standard errors
    assert gaps_ns.std() == pytest.approx(2e6, rel=0.1)
    assert (arrivals.due_ns == again.due_ns).all()


@real_trades
@pytest.mark.parametrize("speed", [1, 4])
def test_arrivals_of_trades_are_those_at_which_they_were_received(speed: float, tick_archive: Path) -> None:
    arrivals = parse_arrivals(str(REAL_TRADES), seconds=120 / speed, speed=speed)

    trades, first = load(REAL_TRADES, 0, 1), tick_schema().window
    count = len(arrivals.due_ns)
    received = trades.ts_init[first : first + count] - trades.ts_init[first]
    assert arrivals.due_ns.tolist() == pytest.approx((received / speed).tolist(), abs=1)
    assert trades.ts_init[first + count] - trades.ts_init[first] >= 120e9 - 1
    with connect(f"mar:{tick_archive}", "tick") as client:
        sent = rows_of(client.metadata, arrivals.trades)
    streamed, expected = TickFeatures(), []
    for price, size, side, ts in zip(trades.price, trades.size, trades.side, trades.ts_event, strict=True):
        expected.append(streamed.update(int(price), int(size), int(side), int(ts)))
    assert sent.tolist() == np.array(expected[first : first + count], np.float32).tolist()


def test_a_price_model_gets_windows_that_it_accepts(untrained_price_run: Path) -> None:
    description = read_description(untrained_price_run)
    schema = description["feature_schema"]
    served = {"version": "1.0", "archive_digest": "0", "outputs": ["price"], "inputs": "rows"}
    other, texts, ours = (
        ModelMetadata.from_dict({**description, **served, "inputs": inputs, "feature_schema_sha256": sha256})
        for inputs, sha256 in (("rows", "another"), ("texts", "another"), ("rows", bar_schema().sha256))
    )

    with pytest.raises(BadData, match="expected a model of rows, got price, one of texts"):
        rows_of(texts, None)
    sent, of_own_features = rows_of(ours, None), rows_of(other, None)

    assert sent.shape[1:] == of_own_features.shape[1:] == (schema["time_steps"], len(schema["columns"]))
    assert (sent > 0).all()
    assert np.isfinite(of_own_features).all()


@pytest.mark.parametrize(
    ("arrivals", "speed", "error"),
    [
        ("poisson:fast", 1, r"expected arrivals such as poisson:50 .*, got 'poisson:fast'"),
        ("poisson:-3", 1, r"expected arrivals .*, got 'poisson:-3'"),
        ("poisson:50", 0, "expected a speed above 0, got 0"),
    ],
)
def test_arrivals_that_make_no_sense_are_refused(arrivals: str, speed: float, error: str) -> None:
    with pytest.raises(BadSetting, match=error):
        parse_arrivals(arrivals, seconds=10, speed=speed)


def test_too_few_arrivals_are_no_distribution() -> None:
    with pytest.raises(BadData, match=f"expected at least {FEWEST} arrivals in 1 s, got "):
        parse_arrivals("poisson:20", seconds=1, speed=1)


@pytest.mark.slow
def test_script_records_from_a_running_server_and_from_its_own(
    tick_server: TorchServe, tick_run: Path, tmp_path: Path
) -> None:
    there = ("--url", tick_server.inference_url, "--token-file", tick_server.home / KEY_FILE, "--workers", "1")
    few = ("--arrivals", "poisson:80", "--seconds", "2", "--json")

    running = run_script(SCRIPT, "--record", tmp_path / "a.json", *there, *few)
    own = run_script(SCRIPT, "--record", tmp_path / "b.json", "--run", tick_run, *few)

    for result, name in ((running, "a.json"), (own, "b.json")):
        assert result.returncode == 0, result.stderr
        summary, profile = json.loads(result.stdout), load_profile(tmp_path / name)
        assert summary["profile"] == str(tmp_path / name)
        assert summary["requests"] == len(profile.service_ns) >= FEWEST
        assert summary["workers"] == profile.workers == 1
    assert json.loads(running.stdout)["digest"] == json.loads(own.stdout)["digest"]


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("--record", "x.json", "--url", "http://127.0.0.1:9"), 2, "--workers for a server"),
        (("--record", "x.json", "--url", "http://127.0.0.1:9", "--workers", "1"), 1, "Could not connect"),
    ],
)
def test_a_recording_that_cannot_be_made_fails_with_the_reason(
    arguments: tuple[str, ...], status: int, reason: str
) -> None:
    result = call_script(SCRIPT, *arguments)

    assert result.exit_code == status, result.stderr
    assert reason in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr
