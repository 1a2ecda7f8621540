"""A backtest that only needs to be started, whoever asks the model: an actor as it goes on, or we beforehand."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.backtest.node import BacktestNode
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.trading.bars.actor import BarInferenceActor
from nautilus_torchserve.trading.inference.messages import OneInput
from nautilus_torchserve.trading.news.headline import NewsCounts
from nautilus_torchserve.trading.prediction import Prediction
from nautilus_torchserve.trading.tick.actor import InferenceActor


class Publisher(Protocol):
    """Whose predictions strategies get."""

    @property
    def published(self) -> tuple[Prediction, OneInput] | None:
        """The last prediction that took effect, and what the model was asked for it."""


@dataclass(frozen=True)
class RequestStats:
    """What came of the asking, by the instrument that it was about."""

    failed: Mapping[InstrumentId, int]
    """Events that got no answer."""
    refused: Mapping[InstrumentId, int]
    """Events whose features the model refused."""
    not_arrived: Mapping[InstrumentId, int]
    """Answers due only after the last datum, which never took effect."""
    last_error: str
    """What the last failed request said."""
    last_refusal: str
    """Why the last row was refused."""
    gave_up: bool
    """Whether so many failed in a row that nothing was asked any more."""
    news: Mapping[InstrumentId, NewsCounts | None]
    """What became of the news; None where the model reads none."""


class PreparedRun(NamedTuple):
    """A run that has all that it needs."""

    engine: BacktestEngine
    """Whose message bus may be listened to before the start."""
    publisher: Publisher
    """Whose predictions its strategies get."""
    start: Callable[[], object]
    """Runs to the end of the data."""
    asked: Callable[[], RequestStats]
    """To be called after that."""


def inline_run(node: BacktestNode, engine: BacktestEngine, actor: InferenceActor | BarInferenceActor) -> PreparedRun:
    """A node's run in which an actor asks the model."""

    def asked() -> RequestStats:
        if isinstance(actor, InferenceActor):
            failed = Counter({actor.config.instrument_id: len(actor.failed)})
            refused = Counter({actor.config.instrument_id: len(actor.refused_rows)})
            news: dict[InstrumentId, NewsCounts | None] = {actor.config.instrument_id: None}
        else:
            failed = Counter({instrument_id: len(events) for instrument_id, events in actor.failed.items()})
            refused = Counter({instrument_id: len(events) for instrument_id, events in actor.refused_rows.items()})
            news = {instrument_id: actor.news_counts(instrument_id) for instrument_id in actor.failed}
        not_arrived = Counter(said.instrument_id for said in actor.pending)
        return RequestStats(failed, refused, not_arrived, actor.last_error, actor.last_refusal, actor.gave_up, news)

    return PreparedRun(engine, actor, node.run, asked)
