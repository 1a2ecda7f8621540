"""A backtest's result for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from nautilus_torchserve.reporting.fragments import amount, moment


def result_table(report: Mapping[str, Any]) -> Table:
    """Return a summary of `trading.backtest.report.summary` as a dozen rows.

    Parameters
    ----------
    report : mapping
        The summary, with ``edge`` (the model's evaluation in one sentence), ``evaluation`` and ``report`` (paths)
        where there are.
    """
    table = Table(title=f"{report['model']} {report['version']} on {report['instrument_id']}", show_header=False)
    if report["simulated"]:
        table.add_row("market", "SIMULATED: the result says nothing about a real one")
    if report["in_sample"] is True:
        table.add_row("IN SAMPLE", "the model's fit saw these data: the result says nothing about new ones")
    elif report["in_sample"] == "unknown":
        table.add_row("in sample", "UNKNOWN: the prices could not be compared with those that the model's fit saw")
    news, rare = ("headlines", "headlines_unread", "with_news"), ("without_volume", "refused")
    shown_first = ("source", "sample", "edge", "trades", "bars")
    for name in (*shown_first, *news, "predictions", *rare, "failed", "orders", "positions"):
        if name in report and (report[name] or name not in rare):
            shown = f"{report[name]:,}" if isinstance(report[name], int) else report[name]
            table.add_row(name.replace("_", " "), shown)
    if report["refused_orders"]:
        table.add_row("refused orders", f"{report['refused_orders']:,}; the last: {report['last_refused_order']}")
    currency = report["currency"]
    pnl, fees = plain_amount(report["pnl"]), plain_amount(report["fees"])
    table.add_row("PnL", f"{pnl} {currency} ({report['return_pct']:.3f} %), after fees of {fees}")
    table.add_row("max drawdown", f"{plain_amount(report['max_drawdown'])} {currency}")
    if report["ruined"] is not None:
        when, left = moment(report["ruined"]["ts_ns"]), plain_amount(report["balance"])
        table.add_row("RUINED", f"nothing left at {when}, trading ended; {left} {currency} at the end")
    latency = ", ".join(f"{name} {value:.2f}" for name, value in report["latency_ms"].items() if value is not None)
    table.add_row("latency (ms)", latency or "no predictions")
    noun = "trades" if "trades" in report else "bars"
    table.add_row("speed", f"{report[f'{noun}_per_s']:,.0f} {noun}/s")
    if len(report.get("instruments", ())) > 1:
        for each in report["instruments"]:
            table.add_row(each["instrument_id"], f"{plain_amount(each['pnl'])} {currency} in {each['orders']:,} orders")
    for name in ("evaluation", "report"):
        if name in report:
            table.add_row(name, report[name])
    return table


def plain_amount(value: float) -> str:
    """Return a sum of money for a terminal."""
    return amount(value).replace("\N{MINUS SIGN}", "-")
