"""A backtest's result for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from nautilus_torchserve.reporting.fragments import amount, moment


def result_table(said: Mapping[str, Any]) -> Table:
    """What `trading.backtest.report.summary` or
    `trading.backtest.bars_report.summary` says, in a dozen lines.

    Parameters
    ----------
    said : mapping
        The summary, with ``edge`` (the model's evaluation in words), ``evaluation`` and ``report`` (paths) where
        there are.
    """
    table = Table(title=f"{said['model']} {said['version']} on {said['instrument_id']}", show_header=False)
    if said["simulated"]:
        table.add_row("market", "SIMULATED: the result says nothing about a real one")
    if said["in_sample"] is True:
        table.add_row("IN SAMPLE", "the model's fit saw these data: the result says nothing about new ones")
    elif said["in_sample"] == "unknown":
        table.add_row("in sample", "UNKNOWN: the prices could not be compared with those that the model's fit saw")
    news, rare = ("headlines", "headlines_unread", "with_news"), ("without_volume", "refused")
    shown_first = ("source", "sample", "edge", "trades", "bars")
    for name in (*shown_first, *news, "predictions", *rare, "failed", "orders", "positions"):
        if name in said and (said[name] or name not in rare):
            shown = f"{said[name]:,}" if isinstance(said[name], int) else said[name]
            table.add_row(name.replace("_", " "), shown)
    if said["refused_orders"]:
        table.add_row("refused orders", f"{said['refused_orders']:,}; the last: {said['last_refused_order']}")
    currency = said["currency"]
    pnl, fees = plain_amount(said["pnl"]), plain_amount(said["fees"])
    table.add_row("PnL", f"{pnl} {currency} ({said['return_pct']:.3f} %), after fees of {fees}")
    table.add_row("max drawdown", f"{plain_amount(said['max_drawdown'])} {currency}")
    if said["ruined"] is not None:
        when, left = moment(said["ruined"]["ts_ns"]), plain_amount(said["balance"])
        table.add_row("RUINED", f"nothing left at {when}, trading ended; {left} {currency} at the end")
    latency = ", ".join(f"{name} {value:.2f}" for name, value in said["latency_ms"].items() if value is not None)
    table.add_row("latency (ms)", latency or "no predictions")
    noun = "trades" if "trades" in said else "bars"
    table.add_row("speed", f"{said[f'{noun}_per_s']:,.0f} {noun}/s")
    if len(said.get("instruments", ())) > 1:
        for each in said["instruments"]:
            table.add_row(each["instrument_id"], f"{plain_amount(each['pnl'])} {currency} in {each['orders']:,} orders")
    for name in ("evaluation", "report"):
        if name in said:
            table.add_row(name, said[name])
    return table


def plain_amount(value: float) -> str:
    """A sum of money for a terminal."""
    return amount(value).replace("\N{MINUS SIGN}", "-")
