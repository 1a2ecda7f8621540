"""One backtest of a parameter sweep, as a process or a cluster's worker runs it."""

from dataclasses import dataclass, replace

from nautilus_torchserve.latency.profile import BadProfile
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.scores.sharpe import Sharpe, sharpe_of
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive
from nautilus_torchserve.trading.backtest.run import Data, run_backtest
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.backtest.sweeps.grid import Combination
from nautilus_torchserve.trading.backtest.sweeps.outcome import Outcome, Subject, outcome_of, subject_of
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.wire.errors import RequestError

_FAILURES = (BadSetting, BadData, BadProfile, RequestError, UnreadableArchive, OSError)


@dataclass(frozen=True)
class Plan:
    """Data and settings that all backtests of a sweep share."""

    data: Data
    """Input data."""
    settings: RunSettings
    """Base settings, some of which a combination changes."""


@dataclass(frozen=True)
class SweepPoint:
    """One combination tried."""

    combination: Combination
    outcome: Outcome | None = None
    """None where it failed."""
    sharpe: Sharpe | None = None
    """None where it failed, or its equity never moved."""
    subject: Subject | None = None
    """Model and data; None where it failed."""
    error: str = ""
    """Error message; empty where it succeeded."""


def run_point(plan: Plan, combination: Combination) -> SweepPoint:
    """Run a combination; if it cannot be run, or the model stops responding, return a point with an error."""
    try:
        settings = replace(plan.settings, **combination)
        result = run_backtest(plan.data, settings)
    except _FAILURES as error:
        return SweepPoint(combination, error=f"{error}")
    if result.gave_up:
        return SweepPoint(combination, error=f"the model stopped responding: {result.last_error}")
    sharpe = sharpe_of(result.account.stretch_equity)
    return SweepPoint(combination, outcome_of(result, settings), sharpe, subject_of(result, settings))
