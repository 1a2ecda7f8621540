"""What the serving benchmark makes of its cells: targets, layers, words."""

from io import StringIO

import pytest
from rich.console import Console

from benchmarks.comparison import CONNECTIONS, Cell, Plan
from benchmarks.in_process import FORWARD, IN_TILES, MAR, ONE, ONE_WINDOW, ROWS, WINDOWS
from benchmarks.layer_times import layer_times
from benchmarks.news import BARE, IN_PROCESS, PORT, NewsCell, find_news_targets
from benchmarks.payloads import (
    MANY_BINARY,
    ONE_BINARY,
    ONE_JSON,
    PRICE,
    TICK,
    WINDOW_BINARY,
    WINDOW_JSON,
    WINDOWS_BINARY,
)
from benchmarks.report import NO_NEWS, NO_PRICE, Report
from benchmarks.servers import NAMES
from benchmarks.targets import find_targets


def cell(server: str, request: str, p50_ms: float, rows: int = 1, connections: int = 1) -> Cell:
    return Cell(server, request, connections, rows, p50_ms, 2 * p50_ms, connections * 1000 / p50_ms)


TICK_CELLS = [
    cell(server, request, 0.5, connections=connections)
    for request in (ONE_JSON, ONE_BINARY, MANY_BINARY)
    for connections in CONNECTIONS[TICK]
    for server in NAMES
] + [cell(name, request, 0.25) for request in (ONE, ROWS) for name in (FORWARD, MAR)]
PRICE_CELLS = [
    cell(PRICE, WINDOW_JSON, 2.0),
    cell(PRICE, WINDOW_BINARY, 1.75),
    cell(PRICE, WINDOW_BINARY, 16.0, connections=8),
    cell(PRICE, WINDOWS_BINARY, 32.0, 64),
    cell(FORWARD, ONE_WINDOW, 1.0),
    cell(IN_TILES, ONE_WINDOW, 1.25),
    cell(MAR, ONE_WINDOW, 1.375),
    cell(FORWARD, WINDOWS, 16.0, 64),
    cell(IN_TILES, WINDOWS, 24.0, 64),
    cell(MAR, WINDOWS, 28.0, 64),
]


NEWS_CELLS = [
    *(
        NewsCell(name, f"{count} of 30 tokens", count, base * count, base, 1.0)
        for count in (1, 32)
        for name, base in ((BARE, 8.0), (IN_PROCESS, 8.4), (PORT, 9.0))
    ),
    *(
        NewsCell(name, "a window, a sentence of 30 tokens", 1, p50_ms, p50_ms, 1.0)
        for name, p50_ms in (("price", 2.0), ("sentiment", 9.0), ("ensemble", 9.9))
    ),
]


def shown(report: Report) -> str:
    written = StringIO()
    report.show(Console(width=200, file=written))
    return written.getvalue()


def test_price_targets_are_about_its_own_forward_and_ticks_round_trip() -> None:
    *_, alone, many = find_targets([*TICK_CELLS, *PRICE_CELLS])

    assert alone.value == pytest.approx(1.75 / (1.0 + 0.5))
    assert (alone.bound, alone.at_most) == (1.3, True)
    assert alone.reached
    assert many.value == pytest.approx(64 / 0.032)
    assert (many.bound, many.at_most) == (1500, False)
    assert many.reached


def test_layers_of_a_request_add_up_to_it() -> None:
    spent = {found.request: found for found in layer_times([*TICK_CELLS, *PRICE_CELLS])}

    one, many = spent[WINDOW_BINARY], spent[WINDOWS_BINARY]
    assert (one.forward_ms, one.tiles_ms, one.handler_ms, one.port_ms) == (1.0, 0.25, 0.125, 0.375)
    assert spent[WINDOW_JSON].port_ms == 2.0 - 1.375
    assert (many.forward_ms, many.tiles_ms, many.handler_ms, many.port_ms) == (16.0, 8.0, 4.0, 4.0)
    assert (many.invariance, many.in_process) == (24 / 16, 28 / 16)


def test_news_targets_hold_the_handler_and_one_call_against_what_they_add_to() -> None:
    one, many, ensemble = find_news_targets(NEWS_CELLS)

    assert [one.value, many.value, ensemble.value] == pytest.approx([8.4 / 8.0, 8.4 / 8.0, 9.9 / 9.0])
    assert [(target.bound, target.at_most) for target in (one, many, ensemble)] == [(1.15, True)] * 3


def test_report_names_network_layers_and_targets() -> None:
    network = {"module": "model_defs.price_lstm", "config": {"inputs": 5}}
    report = Report({"cpu": "any"}, Plan(), network, [*TICK_CELLS, *PRICE_CELLS], NEWS_CELLS)

    summary, text = report.as_dict(), shown(report)
    assert summary["left_out"] is None
    assert [spent["invariance"] for spent in summary["spent"]] == [1.25, 1.25, 1.5]
    assert "model_defs.price_lstm" in text
    assert all(word in text for word in ("+ tiles", "+ handler", "+ port", *(t["name"] for t in summary["targets"])))


def test_a_report_without_a_price_model_notes_it() -> None:
    report = Report({"cpu": "any"}, Plan(), None, TICK_CELLS)

    summary = report.as_dict()
    assert summary["left_out"] == f"{NO_PRICE} {NO_NEWS}"
    assert summary["spent"] == []
    assert len(summary["targets"]) == 6
    assert NO_PRICE in shown(report)
