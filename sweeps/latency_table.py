"""A sweep over latencies for the terminal."""

from rich.table import Table

from sweeps.latency_sweep import LatencySweep, shown


def latency_table(sweep: LatencySweep) -> Table:
    """A row for each latency, and below them what a millisecond costs where latencies are least."""
    subject, cost = sweep.subject, sweep.cost
    table = Table(
        "latency", f"PnL ({subject.currency})", "orders", "too old",
        title=f"{subject.model} {subject.version} on {', '.join(subject.instrument_ids)}",
        caption=(
            f"From {shown(cost.from_ns)} to {shown(cost.to_ns)} each millisecond costs {cost.per_ms:,.2f} "
            f"{subject.currency}, by a straight line."
        ),
    )
    for run in sweep.runs:
        outcome = run.outcome
        too_old = "no predictions" if outcome.too_old is None else f"{outcome.too_old:.1%}"
        table.add_row(shown(run.latency_ns), f"{outcome.pnl:,.2f}", f"{outcome.orders:,}", too_old)
    return table
