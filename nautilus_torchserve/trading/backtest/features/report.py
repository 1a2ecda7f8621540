"""Report of a backtest of a model on features of your own."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.quotes.quotes import Depth, Quotes
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.reporting.backtest.data import UNKNOWN
from nautilus_torchserve.trading.backtest.features.settings import FeatureBacktestSettings
from nautilus_torchserve.trading.backtest.report_parts import ReportKind, Section, note_on_carry, note_on_latency
from nautilus_torchserve.trading.backtest.results import BacktestResult, InstrumentResult


def describe(settings: FeatureBacktestSettings, run: BacktestResult, result: InstrumentResult[Any]) -> Section:
    """Return the page's section on the features, the strategy and its quotes."""
    features = spec_of(settings.spec).features
    config = settings.strategy(result.definition.instrument)
    return Section(
        data={"Features": f"{features.streaming} of {', '.join(features.data)}"},
        settings={
            "Strategy": f"{type(config).__module__}:{type(config).__name__.removesuffix('Config')}",
            **{name: str(value) for name, value in settings.strategy_settings.items()},
        },
        notes=[
            note_on_latency(settings, "its newest datum was received"),
            _quotes(settings, result),
            f"Each fill costs a fee of {result.definition.fee_bps:g} bps; predictions are not scored, as only their "
            f"author knows what they are about. {note_on_carry(result)}",
        ],
        predictions=result.predictions,
        actual=np.full(len(result.predictions), UNKNOWN, dtype=np.int8),
        class_names=tuple(run.metadata.outputs),
        min_probability=1.0,
        scored=False,
    )


def _quotes(settings: FeatureBacktestSettings, result: InstrumentResult[Any]) -> str:
    quotes = result.data if isinstance(result.data, Quotes) else result.quotes
    if quotes is not None:
        if isinstance(quotes, Depth):
            return (
                f"Bid and ask are those of {len(quotes):,} quotes of {quotes.source}, with {quotes.levels} levels of "
                "each side. A market order fills at once, level by level, each a tick worse, and what exceeds the last "
                "one two ticks worse than that: the book is whole again at the next quote."
            )
        implied = ", which are implied by its trades and not the venue's" if quotes.is_implied else ""
        return (
            f"Bid and ask are those of {len(quotes):,} quotes of {quotes.source}{implied}. A market order fills at "
            "once, one tick worse, what exceeds the quoted size two ticks worse: there is no impact."
        )
    if isinstance(result.data, Bars):
        return f"Bars hold no quotes: bid and ask are assumed {settings.spread_bps:g} bps apart, with any size."
    return (
        "Bid and ask are the prices of the last seller and the last buyer, as trades have no order book: there is "
        "neither depth nor impact. A market order fills at once, one tick worse."
    )


def _counts(results: Sequence[InstrumentResult[Any]]) -> dict[str, int]:
    return {"events": sum(len(result.data) for result in results)}


REPORT = ReportKind("event", describe, _counts, lists_instruments=True)
