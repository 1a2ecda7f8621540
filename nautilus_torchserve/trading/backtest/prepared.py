"""A backtest that is ready to start, with inline or bulk requests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.trading.inference.messages import ModelInput
from nautilus_torchserve.trading.news.headline import NewsCounts
from nautilus_torchserve.trading.prediction import Prediction


class Publisher(Protocol):
    """The source of a run's predictions."""

    @property
    def published(self) -> tuple[Prediction, ModelInput] | None:
        """The last prediction that took effect, and its input."""


@dataclass(frozen=True)
class RequestStats:
    """Outcomes of the requests, by instrument."""

    failed: Mapping[InstrumentId, int]
    """Events that got no response."""
    refused: Mapping[InstrumentId, int]
    """Events whose features the model refused."""
    not_arrived: Mapping[InstrumentId, int]
    """Responses due only after the last datum, which never took effect."""
    last_error: str
    """Error of the last failed request."""
    last_refusal: str
    """Why the last row was refused."""
    gave_up: bool
    """Whether requests ended after too many failures in a row."""
    news: Mapping[InstrumentId, NewsCounts | None]
    """Counts of headlines; None where the model reads none."""


class PreparedRun(NamedTuple):
    """A run that is ready to start."""

    engine: BacktestEngine
    """Its message bus may be subscribed to before the start."""
    publisher: Publisher
    """Source of the predictions that its strategies receive."""
    start: Callable[[], object]
    """Runs to the end of the data."""
    stats: Callable[[], RequestStats]
    """To be called after that."""
    spent_s: float = 0.0
    """Wall time of a pass over the data before it, and of its requests."""
