"""The data of a backtest report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nautilus_torchserve.reporting.backtest.trade_log import TradeLog
from nautilus_torchserve.scores.account import AccountHistory

UNKNOWN = -1
"""The true class of a prediction whose outcome is not known yet."""
_PREDICTION_COLUMNS = ("ts_event", "ts_init", "latency_ns")
_FILL_COLUMNS = ("ts_ns", "side", "price", "quantity")
_EQUITY_COLUMNS = ("ts_ns", "equity", "drawdown")


@dataclass(frozen=True, eq=False)
class ReportData:
    """One backtest, as arrays and tables; checked when it is made.

    Raises
    ------
    ValueError
        Lengths, columns, classes or the order in time do not fit together.
    """

    title: str
    """Heading of the page."""
    instrument_id: str
    """What was traded, NautilusTrader's form."""
    simulated: bool
    """True for a simulated market: the page says so before anything else."""
    data: Mapping[str, str]
    """Where trades or bars came from: label -> value."""
    model: Mapping[str, str]
    """Which model predicted: label -> value."""
    settings: Mapping[str, str]
    """What the backtest was run with: label -> value."""
    notes: tuple[str, ...]
    """Trade-offs a reader must know, one sentence each."""
    ts_ns: NDArray[np.int64]
    """When each trade was, Unix ns [n], non-decreasing."""
    price: NDArray[np.float64]
    """Price of each trade [n]."""
    predictions: pd.DataFrame
    """``ts_event`` and ``ts_init`` (arrival) in simulated Unix ns, ``latency_ns`` measured, a column for each class."""
    actual: NDArray[np.int8]
    """True class of each prediction, an index into ``class_names``; -1 where it is not known yet."""
    class_names: tuple[str, ...]
    """Names of the classes, which are columns of ``predictions``: ``("buy", "sell", "hold")``."""
    min_probability: float
    """Least probability of BUY or SELL that the strategy acted on."""
    fills: pd.DataFrame
    """``ts_ns``, ``side`` ("BUY" or "SELL"), ``price``, ``quantity``."""
    equity: pd.DataFrame
    """``ts_ns``, ``equity`` and ``drawdown`` in ``currency``, marked to market, thinned for a picture; the first row is
    the start."""
    currency: str
    """The account's currency."""
    statistics: Mapping[str, Mapping[str, float | str]]
    """Group -> name -> value, NaN where there is none."""
    statistics_basis: Mapping[str, str] = field(default_factory=dict)
    """Group -> what its values are computed from."""
    account: AccountHistory | None = None
    """The account over all events; None where there was none."""
    ruined_ns: int | None = None
    """When the account's equity fell to zero or below, Unix ns; None where it never did."""
    warnings: tuple[str, ...] = ()
    """Reasons to doubt the numbers, shown above them."""
    orders: int | None = None
    """Number of orders submitted; None where they were not counted."""
    events: str = "trades"
    """Name of the market events, one per price: ``trades`` or ``bars``."""
    scored: bool = True
    """Whether predictions are scored; False: what they are about is not known, and the page leaves their scores out."""
    log: TradeLog | None = None
    """The trades, kept beside the page so that each can be explained; None: they are not kept."""
    explained: Mapping[str, Any] | str | None = None
    """One trade explained, as `trading.backtest.explain.explain_trade` gives it, or a sentence that
    says why there is none; None: no explanation was requested, and the page has no such section."""

    def __post_init__(self) -> None:
        _same_length("price", len(self.price), "ts_ns", len(self.ts_ns))
        _same_length("actual", len(self.actual), "predictions", len(self.predictions))
        _has_columns("predictions", self.predictions, (*_PREDICTION_COLUMNS, *self.class_names))
        _has_columns("fills", self.fills, _FILL_COLUMNS)
        _has_columns("equity", self.equity, _EQUITY_COLUMNS)
        _in_order("ts_ns", self.ts_ns)
        _in_order("equity's ts_ns", self.equity["ts_ns"].to_numpy())
        if len(self.actual) and (self.actual.min() < UNKNOWN or self.actual.max() >= len(self.class_names)):
            raise ValueError(
                f"expected actual in [-1, {len(self.class_names) - 1}], got [{self.actual.min()}, {self.actual.max()}]"
            )
        strange = sorted(set(self.fills["side"]) - {"BUY", "SELL"})
        if strange:
            raise ValueError(f"expected sides BUY and SELL in fills, got {strange}")


def probabilities(data: ReportData) -> NDArray[np.float64]:
    """Return the predictions' class columns [n, classes], in the order of ``class_names``."""
    return data.predictions[list(data.class_names)].to_numpy(dtype=np.float64)


def answered(data: ReportData) -> NDArray[np.bool_]:
    """Return which predictions hold finite probabilities [n]; the others got no response."""
    return np.isfinite(probabilities(data).sum(axis=1))


def _same_length(name: str, length: int, other: str, expected: int) -> None:
    if length != expected:
        raise ValueError(f"expected {name} as long as {other} ({expected}), got {length}")


def _has_columns(name: str, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"expected {name} with columns {list(columns)}, got none named {missing}")


def _in_order(name: str, ts_ns: NDArray) -> None:
    back = np.flatnonzero(np.diff(ts_ns) < 0)
    if len(back):
        raise ValueError(f"expected {name} non-decreasing, got a decrease at {back[0] + 1}")
