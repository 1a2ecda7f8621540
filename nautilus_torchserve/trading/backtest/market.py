"""The events that a backtest runs on, and how they get into NautilusTrader's engine."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.models.spec import load_object
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.carry import Marks, Schedule, schedules
from nautilus_torchserve.trading.backtest.holdout import Sample
from nautilus_torchserve.trading.backtest.prefetch.stream import Feed
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.inference.actor import ModelActor
from nautilus_torchserve.trading.instruments.conform import tick_steps
from nautilus_torchserve.trading.instruments.instruments import implied
from nautilus_torchserve.trading.instruments.resolve import Definition
from nautilus_torchserve.trading.news.headline import NewsCounts

D = TypeVar("D", Trades, Bars, Quotes)


@dataclass(frozen=True)
class InstrumentData(Generic[D]):
    """The events of one instrument of a run."""

    data: D
    """Events that the model is evaluated on."""
    run: D
    """All events of the run, in the instrument's own decimals: ``warm`` others, then ``data``."""
    sample: Sample
    """Evaluated events, and the reason."""
    definition: Definition
    """Definition of the instrument."""
    quotes: Quotes | None = None
    """Quotes of the venue for all events of the run, in the instrument's own decimals; None: they are implied."""
    warm: int = 0
    """Events that only fill the first window."""
    without_volume: int = 0
    """Events that end a window without any volume; the model gets no request for them."""

    @property
    def instrument(self) -> Instrument:
        """The instrument as the engine trades it."""
        return self.definition.instrument


class Market(ABC, Generic[D]):
    """The events of a run, of one kind.

    Parameters
    ----------
    source : object
        Input of the run: see `events`.
    parts : sequence of InstrumentData
        The instruments, in the order given.
    settings : RunSettings
    metadata : ModelMetadata
    """

    noun: ClassVar[str]
    """One event."""
    report: ClassVar[str]
    """The `trading.backtest.report_parts.ReportKind` of its runs, as ``package.module:Name``."""
    is_array_based: ClassVar[bool] = True
    """Whether `feed` computes the actor's inputs from arrays; else `trading.backtest.prefetch.two_passes` has the actor
    compute them."""

    def __init__(self, source: Any, parts: Sequence[InstrumentData[D]], settings: Any, metadata: ModelMetadata) -> None:
        self.source = source
        self.parts: Sequence[InstrumentData[D]] = parts
        self.settings = settings
        self.metadata = metadata
        self.instruments = [part.instrument for part in parts]
        """What is traded, in the order of ``parts``."""

    @classmethod
    @abstractmethod
    def events(cls, source: Any, settings: Any) -> list[D]:
        """Return the events of each instrument that is traded.

        Raises
        ------
        BadData
            They do not fit together.
        """

    @classmethod
    @abstractmethod
    def check_model(cls, metadata: ModelMetadata, events: Sequence[D]) -> None:
        """Refuse a model of other features or events.

        Raises
        ------
        SchemaMismatch
        """

    @classmethod
    @abstractmethod
    def part(cls, events: D, sample: Sample, definition: Definition, metadata: ModelMetadata) -> InstrumentData[D]:
        """Return an instrument's events for the engine and for the evaluation.

        Raises
        ------
        BadData
            There are too few for one prediction.
        """

    @staticmethod
    @abstractmethod
    def marks(data: D) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return when each price was known (Unix ns), and the prices (smallest steps) that positions are marked at."""

    @abstractmethod
    def topic(self, part: InstrumentData[D]) -> str:
        """Return the message bus topic of an instrument's events."""

    @abstractmethod
    def write_catalog(self, folder: Path) -> list[BacktestDataConfig]:
        """Write a `ParquetDataCatalog`; return its parts in the order in which data of one time are handled."""

    def run(self, node: BacktestNode, engine: BacktestEngine) -> None:
        """Run to the end of the data that `write_catalog` returned."""
        node.run()

    def carry(self) -> dict[InstrumentId, Schedule]:
        """Return what each instrument's position is charged with; those without rates are left out.

        Raises
        ------
        BadSetting, BadData
            As `trading.backtest.carry.schedules`.
        """
        if not self.settings.has_carry:
            return {}
        marks = [
            Marks(
                part.instrument,
                part.data.instrument.instrument_id,
                *self.marks(part.data),
                part.data.instrument.price_precision,
                part.data.read,
            )
            for part in self.parts
        ]
        return schedules(self.settings.funding, self.settings.borrow, marks)

    def feed(self, client: InferenceClient, actor: Any) -> Feed:
        """Return the data of a prefetched run, with the predictions that an actor of this config would publish.

        To be called where `is_array_based`.
        """
        raise NotImplementedError

    def failures(self, actor: Any) -> tuple[dict[InstrumentId, int], dict[InstrumentId, int]]:
        """Return, by instrument, how many events got no response, and how many the model refused."""
        failed = {instrument_id: len(events) for instrument_id, events in actor.failed.items()}
        return failed, {instrument_id: len(events) for instrument_id, events in actor.refused_rows.items()}

    def news(self, actor: ModelActor) -> dict[InstrumentId, NewsCounts | None]:
        """Return the headlines received, by instrument; None where the model reads none."""
        return {instrument.id: None for instrument in self.instruments}

    @property
    def known_instruments(self) -> Sequence[Instrument]:
        """What is traded, and whose data are there besides."""
        return self.instruments

    @property
    def venue_quotes(self) -> dict[InstrumentId, Quotes]:
        """Quotes that market orders meet at the venue's own time, by instrument; else they meet received quotes."""
        met = {part.instrument.id: _quotes_met(part) for part in self.parts}
        return {instrument_id: quotes for instrument_id, quotes in met.items() if quotes is not None}

    def hold_orders(self, engine: BacktestEngine) -> Mapping[InstrumentId, int]:
        """Hold orders while their market is closed; return a live count by instrument."""
        return Counter()

    @property
    def span_ns(self) -> tuple[int, int]:
        """``ts_event`` of the first and of the last evaluated event, Unix ns."""
        events = [part.data.ts_event for part in self.parts]
        return min(int(times[0]) for times in events), max(int(times[-1]) for times in events)


def _quotes_met(part: InstrumentData[Any]) -> Quotes | None:
    """Return the venue's quotes, or those that trades received late imply; None: received ones are the same."""
    run = part.run
    if isinstance(run, Quotes):
        return run
    if part.quotes is None and isinstance(run, Trades) and (run.ts_init > run.ts_event).any():
        return implied(run, tick_steps(part.instrument))
    return part.quotes


MARKETS: Mapping[str, str] = {
    "nautilus_torchserve.trading.tick.actor:InferenceActor": (
        "nautilus_torchserve.trading.backtest.tick.market:TradeMarket"
    ),
    "nautilus_torchserve.trading.bars.actor:BarInferenceActor": (
        "nautilus_torchserve.trading.backtest.bars.market:BarMarket"
    ),
    "nautilus_torchserve.trading.news.actor:NewsBarActor": (
        "nautilus_torchserve.trading.backtest.news.market:NewsMarket"
    ),
    "nautilus_torchserve.trading.features.actor:FeatureActor": (
        "nautilus_torchserve.trading.backtest.features.market:FeatureMarket"
    ),
}
"""Actor of a model -> the `Market` that its backtests run on."""


def market_of(settings: RunSettings) -> type[Market[Any]]:
    """Return the kind of market that the model of some settings takes its inputs from.

    Raises
    ------
    BadSetting
        Backtests cannot feed the model's actor.
    """
    actor = spec_of(settings.spec).trading.actor
    if actor not in MARKETS:
        raise BadSetting(f"{settings.spec}: expected an actor of {', '.join(MARKETS)}, got {actor}")
    market: type[Market[Any]] = load_object(MARKETS[actor])
    return market
