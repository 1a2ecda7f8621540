"""The measurement for programs and for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.comparison import Cell, Plan
from benchmarks.layer_times import LayerTimes, layer_times
from benchmarks.news import NewsCell, find_news_targets
from benchmarks.targets import Target, find_targets

_NUMBERS = ("p50 ms", "p99 ms", "requests/s", "rows/s")
NO_PRICE = "No price model was measured: --price-run names a run of nautilus-torchserve train price."
NO_NEWS = "No sentences were measured: --ensemble-run names a run of nautilus-torchserve train ensemble."


@dataclass(frozen=True)
class Report:
    """A finished measurement."""

    machine: Mapping[str, Any]
    """Machine that it was measured on."""
    plan: Plan
    price_network: Mapping[str, Any] | None
    """``model.json``'s ``network`` of the price model; None where none was measured."""
    cells: Sequence[Cell]
    news: Sequence[NewsCell] = ()
    """Cells of sentences and ensembles; empty where none were measured."""

    def as_dict(self) -> dict[str, Any]:
        """Return one JSON object; ``left_out`` lists what was not measured, or is null."""
        return {
            "machine": dict(self.machine),
            "plan": vars(self.plan),
            "price_network": self.price_network,
            "left_out": " ".join(self._left_out) or None,
            "cells": [cell.as_dict() for cell in self.cells],
            "news": [cell.as_dict() for cell in self.news],
            "spent": [spent.as_dict() for spent in layer_times(self.cells)],
            "targets": [target.as_dict() for target in self._targets],
        }

    @property
    def _left_out(self) -> list[str]:
        measured = {NO_PRICE: self.price_network is not None, NO_NEWS: bool(self.news)}
        return [text for text, there in measured.items() if not there]

    @property
    def _targets(self) -> list[Target]:
        return [*find_targets(self.cells), *(find_news_targets(self.news) if self.news else ())]

    def show(self, console: Console) -> None:
        """Print the machine, a table a request, what the time is spent on, and which targets are reached."""
        line = ", ".join(f"{name} {value}" for name, value in self.machine.items() if value is not None)
        console.print(line, soft_wrap=True, highlight=False)
        for request, group in groupby(self.cells, key=lambda cell: cell.request):
            console.print(_table(request, list(group)))
        if self.price_network is not None:
            console.print(_layer_table(self.price_network, layer_times(self.cells)))
        for request, news in groupby(self.news, key=lambda cell: cell.request):
            console.print(_news_table(request, list(news)))
        for text in self._left_out:
            console.print(f"[yellow]{text}[/]", soft_wrap=True, highlight=False)
        for target in self._targets:
            console.print(_verdict(target), soft_wrap=True, highlight=False)


def _verdict(target: Target) -> str:
    verdict = "[green]reached[/]" if target.reached else "[red]missed[/] "
    bound = f"{'<=' if target.at_most else '>='} {target.bound:g}"
    return f"{verdict} {target.value:6.2f} ({bound})  {target.name}"


def _table(request: str, cells: Sequence[Cell]) -> Table:
    table = Table("connections", "server", title=request, title_justify="left", title_style="bold")
    for name in _NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    for connections, group in groupby(cells, key=lambda cell: cell.connections):
        table.add_section()
        for cell in group:
            numbers = (
                f"{cell.p50_ms:.3f}",
                f"{cell.p99_ms:.3f}",
                f"{cell.requests_per_s:,.0f}",
                f"{cell.requests_per_s * cell.rows:,.0f}",
            )
            table.add_row(str(connections), cell.server, *numbers)
    return table


def _news_table(request: str, cells: Sequence[NewsCell]) -> Table:
    table = Table(title=request, title_justify="left", title_style="bold")
    table.add_column("called", no_wrap=True)
    for name in ("p50 ms", "p95 ms", "sentences/s", "to the first"):
        table.add_column(name, justify="right")
    for cell in cells:
        ratio = cell.p50_ms / cells[0].p50_ms
        numbers = (f"{cell.p50_ms:.2f}", f"{cell.p95_ms:.2f}", f"{cell.sentences_per_s:,.0f}", f"{ratio:.2f}")
        table.add_row(cell.name, *numbers)
    return table


def _layer_table(network: Mapping[str, Any], requests: Sequence[LayerTimes]) -> Table:
    title = f"what the time is spent on, 1 connection, p50 ms: {network['module']} {network['config']}"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("request", no_wrap=True)
    for name in ("forward", "+ tiles", "+ handler", "+ port", "tiles / forward", "in process / forward"):
        table.add_column(name, justify="right")
    for spent in requests:
        layers = (spent.forward_ms, spent.tiles_ms, spent.handler_ms, spent.port_ms)
        ratios = (spent.invariance, spent.in_process)
        table.add_row(spent.request, *(f"{layer:.3f}" for layer in layers), *(f"{ratio:.2f}" for ratio in ratios))
    return table
