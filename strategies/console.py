"""A backtest's result for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def result_table(said: Mapping[str, Any]) -> Table:
    """What `strategies.report.summary` or `strategies.bar_report.summary` says, in a dozen lines.

    Parameters
    ----------
    said : mapping
        The summary, with ``edge`` (the model's evaluation in words), ``evaluation`` and ``report`` (paths) where
        there are.
    """
    table = Table(title=f"{said['model']} {said['version']} on {said['instrument_id']}", show_header=False)
    if said["simulated"]:
        table.add_row("market", "SIMULATED: the result says nothing about a real one")
    news, rare = ("headlines", "headlines_unread", "with_news"), ("without_volume", "refused")
    shown_first = ("source", "sample", "edge", "trades", "bars")
    for name in (*shown_first, *news, "predictions", *rare, "failed", "orders", "positions"):
        if name in said and (said[name] or name not in rare):
            shown = f"{said[name]:,}" if isinstance(said[name], int) else said[name]
            table.add_row(name.replace("_", " "), shown)
    table.add_row("PnL", f"{said['pnl']:,.2f} {said['currency']}, after fees of {said['fees']:,.2f}")
    latency = ", ".join(f"{name} {value:.2f}" for name, value in said["latency_ms"].items() if value is not None)
    table.add_row("latency (ms)", latency or "no predictions")
    noun = "trades" if "trades" in said else "bars"
    table.add_row("speed", f"{said[f'{noun}_per_s']:,.0f} {noun}/s")
    if len(said.get("instruments", ())) > 1:
        for each in said["instruments"]:
            table.add_row(each["instrument_id"], f"{each['pnl']:,.2f} {said['currency']} in {each['orders']:,} orders")
    for name in ("evaluation", "report"):
        if name in said:
            table.add_row(name, said[name])
    return table
