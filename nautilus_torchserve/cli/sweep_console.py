"""Results of backtests and sweeps, for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from nautilus_torchserve.reporting.fragments import amount, moment
from nautilus_torchserve.trading.backtest.sweeps.grid import written
from nautilus_torchserve.trading.backtest.sweeps.latency_sweep import LatencySweep, shown
from nautilus_torchserve.trading.backtest.sweeps.parameter_sweep import ParameterSweep
from nautilus_torchserve.trading.backtest.sweeps.point import Outcome

_SHOWN = 20


def show(sweep: ParameterSweep, console: Console) -> None:
    """Print the best combinations, and the deflated Sharpe ratio of the best."""
    done = len(sweep.trials) - len(sweep.failed)
    table = Table(*sweep.grid, "P&L", "orders", "Sharpe", title=f"{len(sweep.trials):,} backtests")
    for trial in sweep.ranked[:_SHOWN]:
        chosen = [written(name, value) for name, value in trial.combination.items()]
        if trial.outcome is None:
            table.add_row(*chosen, "failed")
        else:
            ratio = "" if trial.sharpe is None else f"{trial.sharpe.ratio:.3f}"
            table.add_row(*chosen, _pnl(trial.outcome), f"{trial.outcome.orders:,}", ratio)
    console.print(table)
    if done > 1:
        console.print(f"The best of {done:,} on the same data looks better than it is.", highlight=False)
    if sweep.deflated_sharpe is not None:
        console.print(f"Deflated Sharpe ratio of the highest: {sweep.deflated_sharpe:.2f}", highlight=False)


def latency_table(sweep: LatencySweep) -> Table:
    """Return a row for each latency, and below them what a millisecond costs where latencies are least."""
    subject, cost = sweep.subject, sweep.cost
    table = Table(
        "latency",
        f"P&L ({subject.currency})",
        "orders",
        "too old",
        title=f"{subject.model} {subject.version} on {', '.join(subject.instrument_ids)}",
        caption=(
            f"From {shown(cost.from_ns)} to {shown(cost.to_ns)} each millisecond costs {plain_amount(cost.per_ms)} "
            f"{subject.currency}, by a straight line."
        ),
    )
    for run in sweep.runs:
        outcome = run.outcome
        too_old = "no predictions" if outcome.too_old is None else f"{outcome.too_old:.1%}"
        table.add_row(shown(run.latency_ns), _pnl(outcome), f"{outcome.orders:,}", too_old)
    return table


def _pnl(outcome: Outcome) -> str:
    return plain_amount(outcome.pnl) + (" RUINED" if outcome.ruined else "")


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
    shown_first = ("source", "sample", "edge", "trades", "bars", "events")
    for name in (*shown_first, *news, "predictions", *rare, "failed", "orders", "positions"):
        if name in report and (report[name] or name not in rare):
            shown = f"{report[name]:,}" if isinstance(report[name], int) else report[name]
            table.add_row(name.replace("_", " "), shown)
    if report["refused_orders"]:
        table.add_row("refused orders", f"{report['refused_orders']:,}; the last: {report['last_refused_order']}")
    currency = report["currency"]
    pnl, fees = plain_amount(report["pnl"]), plain_amount(report["fees"])
    table.add_row("PnL", f"{pnl} {currency} ({report['return_pct']:.4g} %), after fees of {fees}")
    for name in ("funding", "borrow"):
        if report[name] is not None:
            table.add_row(name, f"{plain_amount(report[name])} {currency} paid")
    table.add_row("max drawdown", f"{plain_amount(report['max_drawdown'])} {currency}")
    if report["ruined"] is not None:
        when, left = moment(report["ruined"]["ts_ns"]), plain_amount(report["balance"])
        table.add_row("RUINED", f"nothing left at {when}, trading ended; {left} {currency} at the end")
    latency = ", ".join(f"{name} {value:.2f}" for name, value in report["latency_ms"].items() if value is not None)
    table.add_row("latency (ms)", latency or "no predictions")
    noun = next(noun for noun in ("trades", "bars", "events") if noun in report)
    table.add_row("speed", f"{report[f'{noun}_per_s']:,.0f} {noun}/s")
    if len(report.get("instruments", ())) > 1:
        for instrument in report["instruments"]:
            pnl = plain_amount(instrument["pnl"])
            table.add_row(instrument["instrument_id"], f"{pnl} {currency} in {instrument['orders']:,} orders")
    for name in ("evaluation", "report"):
        if name in report:
            table.add_row(name, report[name])
    return table


def plain_amount(value: float) -> str:
    """Return a sum of money for a terminal."""
    return amount(value).replace("\N{MINUS SIGN}", "-")
