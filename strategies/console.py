"""A backtest's result for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def result_table(said: Mapping[str, Any]) -> Table:
    """What `strategies.report.summary` says, in a dozen lines.

    Parameters
    ----------
    said : mapping
        The summary, with ``report`` (a path) and ``edge`` (the model's evaluation) where there are.
    """
    table = Table(title=f"{said['model']} {said['version']} on {said['instrument_id']}", show_header=False)
    if said["simulated"]:
        table.add_row("market", "SIMULATED: the result says nothing about a real one")
    for name in ("source", "sample", "edge", "trades", "predictions", "failed", "orders", "positions"):
        if name in said:
            table.add_row(name, f"{said[name]:,}" if isinstance(said[name], int) else said[name])
    table.add_row("PnL", f"{said['pnl']:,.2f} {said['currency']}, after fees of {said['fees']:,.2f}")
    latency = ", ".join(f"{name} {value:.2f}" for name, value in said["latency_ms"].items() if value is not None)
    table.add_row("latency (ms)", latency or "no predictions")
    table.add_row("speed", f"{said['trades_per_s']:,.0f} trades/s")
    if "report" in said:
        table.add_row("report", said["report"])
    return table
