"""What sweeps gave, for the terminal."""

from rich.console import Console
from rich.table import Table

from nautilus_torchserve.cli.backtest_console import plain_amount
from nautilus_torchserve.trading.backtest.sweeps.latency_sweep import LatencySweep, shown
from nautilus_torchserve.trading.backtest.sweeps.outcome import Outcome
from nautilus_torchserve.trading.backtest.sweeps.parameter_sweep import ParameterSweep, written

_SHOWN = 20


def show(sweep: ParameterSweep, console: Console) -> None:
    """The best combinations, and what the best is worth."""
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
    """A row for each latency, and below them what a millisecond costs where latencies are least."""
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
