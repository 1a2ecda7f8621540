"""One backtest of a parameter sweep, as a process or a cluster's worker runs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nautilus_torchserve.latency.profile import BadProfile
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.scores.sharpe import Sharpe, sharpe_of
from nautilus_torchserve.serving.client.archive_file import UnreadableArchive
from nautilus_torchserve.trading.backtest.results import BacktestResult
from nautilus_torchserve.trading.backtest.run import Data, run_backtest
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.backtest.sweeps.grid import Combination
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.wire.errors import RequestError


@dataclass(frozen=True)
class Outcome:
    """Outcome of one backtest."""

    pnl: float
    """Equity at the end less that at the start, after fees."""
    fees: float
    funding: float | None
    """Funding paid; None: it is not charged."""
    borrow: float | None
    """Interest paid on what was sold short; None: it is not charged."""
    max_drawdown: float
    """Over all events, never positive."""
    ruined: bool
    """Whether an account's equity fell to zero or below, and trading stopped."""
    orders: int
    refused_orders: int
    """Orders that were denied or rejected."""
    fills: int
    positions: int
    """Closed positions."""
    predictions: int
    """Predictions that arrived."""
    failed: int
    """Events that got no response."""
    refused: int
    """Events whose features the model refused."""
    mean_age_ns: float | None
    """Of predictions when they arrive, from their newest event on; None where none arrived."""
    too_old: float | None
    """Share of them that was older than ``max_age_ns``, and so not traded on."""
    gave_up: bool
    """True when the model stopped responding: the rest of the run had no predictions."""
    last_error: str
    """Error of the last failed request."""


@dataclass(frozen=True)
class Subject:
    """Model and data that the backtests of one sweep share."""

    model: str
    version: str
    digest: str
    """Digest of the archive."""
    instrument_ids: tuple[str, ...]
    sources: tuple[str, ...]
    """Where the data came from."""
    simulated: bool
    sample: str
    """Evaluated events, and the reason."""
    currency: str
    """Currency of all amounts."""
    definitions: tuple[Mapping[str, Any], ...]
    """`Definition.as_dict` of each instrument; the fee is the first run's."""


def outcome_of(result: BacktestResult, settings: RunSettings) -> Outcome:
    """Return the outcome of a run."""
    ages = (result.predictions["ts_init"] - result.predictions["ts_event"]).to_numpy(dtype=np.int64)
    return Outcome(
        pnl=result.account.pnl,
        fees=result.account.fees,
        funding=result.account.funding,
        borrow=result.account.borrow,
        max_drawdown=result.account.max_drawdown,
        ruined=result.ruin is not None,
        orders=result.orders,
        refused_orders=result.refused_orders,
        fills=len(result.fills),
        positions=result.positions,
        predictions=len(ages),
        failed=result.failed,
        refused=result.refused,
        mean_age_ns=float(ages.mean()) if len(ages) else None,
        too_old=float((ages > settings.max_age_ns).mean()) if len(ages) else None,
        gave_up=result.gave_up,
        last_error=result.last_error,
    )


def subject_of(result: BacktestResult, settings: RunSettings) -> Subject:
    """Return the data of a run, and the version that responded."""
    data = [instrument.data for instrument in result.instruments]
    return Subject(
        model=settings.model,
        version=result.metadata.version,
        digest=result.metadata.archive_digest,
        instrument_ids=tuple(events.instrument.instrument_id for events in data),
        sources=tuple(dict.fromkeys(events.source for events in data)),
        simulated=any(events.simulated for events in data),
        sample=result.sample_note,
        currency=result.currency,
        definitions=tuple(instrument.definition.as_dict() for instrument in result.instruments),
    )


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
        settings = plan.settings.changed(combination)
        result = run_backtest(plan.data, settings)
    except _FAILURES as error:
        return SweepPoint(combination, error=f"{error}")
    if result.gave_up:
        return SweepPoint(combination, error=f"the model stopped responding: {result.last_error}")
    sharpe = sharpe_of(result.account.stretch_equity)
    return SweepPoint(combination, outcome_of(result, settings), sharpe, subject_of(result, settings))
