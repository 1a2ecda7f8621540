"""A parity report for the terminal."""

from rich.table import Table
from rich.text import Text

from nautilus_torchserve.trading.live.parity.orders import OrderDifference
from nautilus_torchserve.trading.live.parity.parity import ParityReport

SHOWN = 20
"""Differing predictions, and explained orders, that are listed; all are in the JSON."""


def parity_table(report: ParityReport) -> Table:
    """The counts, then each difference."""
    predictions, orders = report.predictions, report.orders
    verdict = "holds" if report.holds else "DOES NOT HOLD"
    table = Table(title=f"parity of {report.run_id} {verdict}", show_header=False, title_justify="left")
    table.add_row("data", Text(report.data))
    table.add_row("features", f"{predictions.features_equal:,} of {predictions.requests:,} equal to the bit")
    table.add_row("outputs", f"{predictions.outputs_equal:,} of {predictions.answered:,} equal to the bit")
    table.add_row("orders", f"{orders.live:,} live, {orders.backtest:,} in the backtest, {orders.equal:,} equal")
    table.add_row("sent at most", f"{orders.most_apart_ns / 1e6:.3f} ms apart, where equal")
    if report.halts:
        table.add_row("halts", f"{report.halts}, which the backtest got at their recorded times")
    if report.lost:
        table.add_row("LOST", f"{report.lost:,} records are missing from the log")
    for each in predictions.differences[:SHOWN]:
        table.add_row(f"question {each.question}", Text(each.what))
    if len(predictions.differences) > SHOWN:
        table.add_row("", f"and {len(predictions.differences) - SHOWN:,} more questions")
    known = [each for each in orders.differences if each.explanation]
    for order in sorted([each for each in orders.differences if not each.explanation] + known[:SHOWN], key=_when):
        whose = "order" if order.question is None else f"order on {order.question}"
        what = f"live {order.live or 'none'}, backtest {order.backtest or 'none'}"
        table.add_row(whose, Text(f"{what}: {order.explanation or 'NOT EXPLAINED'}"))
    if len(known) > SHOWN:
        table.add_row("", f"and {len(known) - SHOWN:,} more orders, explained: --json has them all")
    return table


def _when(order: OrderDifference) -> int:
    return order.ts_ns
