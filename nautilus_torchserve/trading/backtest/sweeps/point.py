"""One backtest of a parameter sweep, as a process or a cluster's worker runs it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nautilus_torchserve.latency.profile import BadProfile
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.trades.trades import BadData, Trades
from nautilus_torchserve.scores.sharpe import Sharpe, sharpe_of
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive
from nautilus_torchserve.trading.backtest.bars import run_bar_backtest
from nautilus_torchserve.trading.backtest.bars_settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.backtest.sweeps.grid import Combination
from nautilus_torchserve.trading.backtest.sweeps.outcome import Outcome, Result, Subject, outcome_of, subject_of
from nautilus_torchserve.trading.backtest.tick import run_backtest
from nautilus_torchserve.trading.backtest.tick_settings import BacktestSettings
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.wire.errors import RequestError

_FAILURES = (BadSetting, BadData, BadProfile, RequestError, UnreadableArchive, OSError)


@dataclass(frozen=True)
class Plan:
    """What all backtests of a sweep share."""

    data: Trades | Sequence[Bars]
    """What is run on: trades for a tick model, bars for a price model."""
    settings: BacktestSettings | BarBacktestSettings
    """Of which a combination changes some."""


@dataclass(frozen=True)
class SweepPoint:
    """One combination tried."""

    combination: Combination
    outcome: Outcome | None = None
    """None where it failed."""
    sharpe: Sharpe | None = None
    """None where it failed, or its equity never moved."""
    subject: Subject | None = None
    """What it ran on; None where it failed."""
    error: str = ""
    """Why it failed."""


def run_trial(plan: Plan, combination: Combination) -> SweepPoint:
    """Run a combination; what cannot be run, or loses its model on the way, is a trial with an error."""
    try:
        settings = replace(plan.settings, **combination)
        result = run_plan(plan.data, settings)
    except _FAILURES as error:
        return SweepPoint(combination, error=f"{error}")
    if result.gave_up:
        return SweepPoint(combination, error=f"the model stopped answering: {result.last_error}")
    sharpe = sharpe_of(result.account.stretch_equity)
    return SweepPoint(combination, outcome_of(result, settings), sharpe, subject_of(result, settings))


def run_plan(data: Trades | Sequence[Bars], settings: RunSettings) -> Result:
    """A tick backtest over trades, a bar backtest over bars."""
    if isinstance(data, Trades) and isinstance(settings, BacktestSettings):
        return run_backtest(data, settings)
    assert not isinstance(data, Trades)
    assert isinstance(settings, BarBacktestSettings)
    return run_bar_backtest(data, settings)
