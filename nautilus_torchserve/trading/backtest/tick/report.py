"""Report of a backtest on trades."""

from collections.abc import Sequence

import numpy as np

from nautilus_torchserve.market.trades.labels import UNKNOWN, label
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.report_parts import ReportKind, Section, note_on_latency, note_on_margin
from nautilus_torchserve.trading.backtest.results import BacktestResult, InstrumentResult
from nautilus_torchserve.trading.backtest.tick.market import CLASSES, TradeMarket
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.durations import format_duration


def describe(settings: BacktestSettings, run: BacktestResult, result: InstrumentResult[Trades]) -> Section:
    """Return the page's section on trades and their predictions.

    The true class of a prediction is the `market.trades.labels.label` of its trade, with the horizon and cost
    that the model was trained for.
    """
    trades, moves = result.data, run.metadata.move_label
    labels = (
        np.full(len(trades), UNKNOWN, np.int8) if moves is None else label(trades.price, moves.horizon, moves.cost_bps)
    )
    return Section(
        data={},
        settings={
            "Minimum probability": f"{settings.min_probability:g}",
            "Minimum time between orders": format_duration(settings.cooldown_ns) if settings.cooldown_ns else "none",
        },
        notes=_notes(settings, run, result),
        predictions=result.predictions,
        actual=labels[result.predictions[TradeMarket.noun].to_numpy()],
        class_names=CLASSES,
        min_probability=settings.min_probability,
    )


def _notes(settings: BacktestSettings, run: BacktestResult, result: InstrumentResult[Trades]) -> list[str]:
    moves = run.metadata.move_label
    scored = (
        "the archive does not record its labels (label in its model.json), so no prediction is scored"
        if moves is None
        else f"the model's labels call a move worth trading above {moves.cost_bps:g} bps"
    )
    return [
        *result.data.notes,
        note_on_latency(settings, "its trade was received"),
        "Bid and ask are the prices of the last seller and the last buyer. A market order fills at once at the other "
        "side's and one tick worse, what exceeds the last trade's size two ticks worse, whatever its size: "
        "trades have no order book, so there is neither depth nor impact. Between trades the quotes stand: a market "
        "without trades counts as open.",
        *_feed_notes(result.data),
        f"Each fill costs a fee of {result.definition.fee_bps:g} bps; {scored}. {note_on_margin(result.definition)}",
    ]


def _feed_notes(trades: Trades) -> list[str]:
    """Return the notes on trades that were received later than they were made."""
    delays = trades.ts_init - trades.ts_event
    if not delays.any():
        return []
    return [
        f"Trades were received {format_duration(int(np.median(delays)))} after they were made (median; at most "
        f"{format_duration(int(delays.max()))}). The model sees them then; orders meet the quotes that stood at the "
        "venue."
    ]


def _counts(results: Sequence[InstrumentResult[Trades]]) -> dict[str, int]:
    return {"trades": sum(len(result.data) for result in results)}


REPORT = ReportKind("trade", describe, _counts, lists_instruments=False)
