"""The serving benchmark measures what it says, and counts nothing but right answers."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.comparison import CONNECTIONS
from benchmarks.in_process import FORWARD, IN_TILES, MAR, ONE, ONE_WINDOW, ROWS, WINDOWS
from benchmarks.load import ClosedLoop, Generator, Load, LoadFailed, Wrk, find_generator
from benchmarks.news import BARE, COUNTS, IN_PROCESS, KNOWN
from benchmarks.news import PORT as OVER_THE_PORT
from benchmarks.payloads import (
    MANY_BINARY,
    ONE_BINARY,
    ONE_JSON,
    PRICE,
    TICK,
    WINDOW_BINARY,
    WINDOW_JSON,
    WINDOWS_BINARY,
    Payload,
    Server,
    WrongResponse,
    check,
    make_window_payloads,
)
from benchmarks.servers import NAMES
from nautilus_torchserve.serving.server.torchserve import TorchServe
from support import call_script, run_script

SCRIPT = "scripts/bench_serving.py"


@pytest.fixture(params=["wrk", "closed_loop"])
def generator(request: pytest.FixtureRequest) -> Generator:
    if request.param == "closed_loop":
        return ClosedLoop()
    path = shutil.which("wrk")
    return Wrk(Path(path)) if path else pytest.skip("wrk is not installed")


@pytest.fixture
def server(tick_server: TorchServe) -> Server:
    headers = {"Authorization": f"Bearer {tick_server.token}"}
    url = f"{tick_server.inference_url}/predictions/tick"
    return Server("tick", url, headers, lambda content: np.empty((0, 3), np.float32), 0.0)


def load_on(server: Server, path: str = "", body: bytes = b"[[0, 0, 0, 0]]") -> Load:
    headers = {**server.headers, "Content-Type": "application/json"}
    return Load(server.url + path, headers, body, connections=4, seconds=0.3)


@pytest.mark.slow
def test_every_cell_is_measured_where_wrk_is_missing(
    tick_archive: Path,
    untrained_price_run: Path,
    news_runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    runs = ("--archive", tick_archive, "--price-run", untrained_price_run, "--ensemble-run", news_runs["ensemble"])
    result = run_script(SCRIPT, "--quick", "--json", *runs)

    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    cells = {(cell["server"], cell["request"], cell["connections"]): cell for cell in report["cells"]}
    served = {(n, q, c) for n in NAMES for q in (ONE_JSON, ONE_BINARY, MANY_BINARY) for c in CONNECTIONS[TICK]}
    served |= {(PRICE, q, c) for q in (WINDOW_JSON, WINDOW_BINARY, WINDOWS_BINARY) for c in CONNECTIONS[PRICE]}
    alone = {(n, q, 1) for n in (FORWARD, MAR) for q in (ONE, ROWS)}
    alone |= {(n, q, 1) for n in (FORWARD, IN_TILES, MAR) for q in (ONE_WINDOW, WINDOWS)}
    assert set(cells) == served | alone
    assert len(report["cells"]) == len(cells)
    for cell in cells.values():
        assert 0 < cell["p50_ms"] <= cell["p99_ms"]
        assert cell["rows_per_s"] >= cell["requests_per_s"] > 0
    assert report["machine"]["generator"] == ClosedLoop.name
    news = {(cell["name"], cell["sentences"]) for cell in report["news"]}
    assert news == {
        *((name, count) for name in (BARE, IN_PROCESS, OVER_THE_PORT) for count in COUNTS),
        *((name, 1) for name in ("price", "sentiment", "ensemble", KNOWN)),
    }
    for cell in report["news"]:
        assert 0 < cell["p50_ms"] <= cell["p95_ms"]
    assert report["left_out"] is None
    assert len(report["targets"]) == 11
    for target in report["targets"]:  # a short cold round may well find the handler quicker than the forward alone
        assert target["name"] in result.stderr
        assert math.isfinite(target["value"])
    assert report["price_network"]["module"] == "model_defs.price_lstm"
    assert report["left_out"] is None
    assert [spent["request"] for spent in report["spent"]] == [WINDOW_JSON, WINDOW_BINARY, WINDOWS_BINARY]


def test_load_is_measured(server: Server, generator: Generator) -> None:
    result = generator.run(load_on(server))

    assert 0 < result.p50_ms <= result.p99_ms
    assert result.requests_per_s > 0


@pytest.mark.parametrize(("path", "body"), [("-missing", b"[[0, 0, 0, 0]]"), ("", b"[[0, 0]]")], ids=["404", "400"])
def test_refused_requests_are_no_measurement(server: Server, generator: Generator, path: str, body: bytes) -> None:
    with pytest.raises(LoadFailed, match=r"expected status 200, got 'HTTP/1.1 40[04]|errors: {'status': \d+"):
        generator.run(load_on(server, path, body))


def test_no_server_is_no_measurement(generator: Generator) -> None:
    with pytest.raises(LoadFailed, match=r"refused|'connect': 2"):
        generator.run(Load("http://127.0.0.1:9/predict", {}, b"[]", connections=2, seconds=0.3))


def test_wrong_answer_is_no_measurement(server: Server) -> None:
    payload = Payload("one row, binary", np.zeros((1, 4), np.float32), binary=True)

    with pytest.raises(WrongResponse, match="off by"):
        check(server, payload, np.ones((1, 3), np.float32))


def test_wrk_is_preferred_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrk = tmp_path / "wrk"
    wrk.write_text("#!/bin/sh\necho 'wrk 4.2.0 [epoll]'\n")
    wrk.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_generator().name == "wrk 4.2.0"

    wrk.unlink()
    assert find_generator().name == ClosedLoop.name


def test_failed_measurement_is_exit_status_1(tmp_path: Path) -> None:
    broken = tmp_path / "tick.mar"
    broken.write_bytes(b"no archive")

    result = call_script(SCRIPT, "--quick", "--archive", broken)

    assert result.exit_code == 1
    assert str(broken) in result.stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("option", "command"),
    [("--run", "nautilus-torchserve train tick"), ("--price-run", "nautilus-torchserve train price")],
)
def test_a_missing_run_is_reported_with_the_command_that_makes_one(
    option: str, command: str, tick_run: Path, tmp_path: Path
) -> None:
    result = call_script(SCRIPT, "--run", tick_run, option, tmp_path / "missing")

    assert result.exit_code == 2
    assert command in result.stderr


def test_windows_are_sent_in_both_forms() -> None:
    windows = np.arange(3 * 60 * 5, dtype=np.float32).reshape(3, 60, 5)

    one_json, one_binary, many = make_window_payloads(windows)

    assert [len(payload.rows) for payload in (one_json, one_binary, many)] == [1, 1, 64]
    assert json.loads(one_json.body) == windows[:1].tolist()
    assert np.frombuffer(one_binary.body, "<f4").tobytes() == windows[0].tobytes()
    assert np.array_equal(many.rows[:6], np.concatenate([windows, windows]))
    assert {payload.model for payload in (one_json, one_binary, many)} == {PRICE}
