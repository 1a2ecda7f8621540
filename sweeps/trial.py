"""One backtest of a parameter sweep, as a process or a cluster's worker runs it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from latency.profile import BadProfile
from market.bars import Bars
from market.trades import BadData, Trades
from scores.sharpe import Sharpe, sharpe_of
from serving.archive_import import UnreadableArchive
from strategies.backtest import run_backtest
from strategies.bar_backtest import run_bar_backtest
from strategies.bar_settings import BarBacktestSettings
from strategies.checks import BadSetting
from strategies.run_settings import RunSettings
from strategies.settings import BacktestSettings
from sweeps.grid import Combination
from sweeps.outcome import Outcome, Result, Subject, outcome_of, subject_of
from wire.errors import RequestError

_FAILURES = (BadSetting, BadData, BadProfile, RequestError, UnreadableArchive, OSError)


@dataclass(frozen=True)
class Plan:
    """What all backtests of a sweep share."""

    data: Trades | Sequence[Bars]
    """What is run on: trades for a tick model, bars for a price model."""
    settings: BacktestSettings | BarBacktestSettings
    """Of which a combination changes some."""


@dataclass(frozen=True)
class Trial:
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


def run_trial(plan: Plan, combination: Combination) -> Trial:
    """Run a combination; what cannot be run, or loses its model on the way, is a trial with an error."""
    try:
        settings = replace(plan.settings, **combination)
        result = run_plan(plan.data, settings)
    except _FAILURES as error:
        return Trial(combination, error=f"{error}")
    if result.gave_up:
        return Trial(combination, error=f"the model stopped answering: {result.last_error}")
    sharpe = sharpe_of(result.account.stretch_equity)
    return Trial(combination, outcome_of(result, settings), sharpe, subject_of(result, settings))


def run_plan(data: Trades | Sequence[Bars], settings: RunSettings) -> Result:
    """A tick backtest over trades, a bar backtest over bars."""
    if isinstance(data, Trades) and isinstance(settings, BacktestSettings):
        return run_backtest(data, settings)
    assert not isinstance(data, Trades)
    assert isinstance(settings, BarBacktestSettings)
    return run_bar_backtest(data, settings)
