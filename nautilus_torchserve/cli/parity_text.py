"""A parity report for the terminal."""

from rich.table import Table
from rich.text import Text

from nautilus_torchserve.trading.live.parity.parity import ParityReport

SHOWN = 20
"""Differing predictions, and explained orders, that are listed; all are in the JSON."""


def parity_table(report: ParityReport) -> Table:
    """Return the counts, then each difference."""
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
    for difference in predictions.differences[:SHOWN]:
        table.add_row(f"question {difference.question}", Text(difference.what))
    if len(predictions.differences) > SHOWN:
        table.add_row("", f"and {len(predictions.differences) - SHOWN:,} more questions")
    explained = [order for order in orders.differences if order.explanation]
    unexplained = [order for order in orders.differences if not order.explanation]
    for order in sorted(unexplained + explained[:SHOWN], key=lambda order: order.ts_ns):
        label = "order" if order.question is None else f"order on {order.question}"
        what = f"live {order.live or 'none'}, backtest {order.backtest or 'none'}"
        table.add_row(label, Text(f"{what}: {order.explanation or 'NOT EXPLAINED'}"))
    if len(explained) > SHOWN:
        table.add_row("", f"and {len(explained) - SHOWN:,} more orders, explained: --json has them all")
    return table
