"""A tick backtest's results as the report page takes them, and as one object for a CI job."""

from pathlib import Path
from typing import Any

import numpy as np

from nautilus_torchserve.market.trades.labels import UNKNOWN, label
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.reporting.backtest.data import ReportData
from nautilus_torchserve.reporting.backtest.page import write_report
from nautilus_torchserve.trading.backtest.attribution import trade_log
from nautilus_torchserve.trading.backtest.explain import with_explanation
from nautilus_torchserve.trading.backtest.report_parts import (
    data_labels,
    instrument_labels,
    model_labels,
    model_summary,
    note_on_latency,
    note_on_margin,
    notes_on_events,
    sample_warnings,
    setting_labels,
    trading_summary,
)
from nautilus_torchserve.trading.backtest.tick_results import CLASSES, BacktestResult
from nautilus_torchserve.trading.backtest.tick_settings import BacktestSettings
from nautilus_torchserve.trading.durations import format_duration


def write_tick_report(settings: BacktestSettings, result: BacktestResult, folder: Path) -> Path:
    """Write the page, with the most profitable trade explained.

    Returns
    -------
    Path
        ``folder/index.html``.
    """
    return write_report(with_explanation(settings, report_data(settings, result)), folder)


def report_data(settings: BacktestSettings, result: BacktestResult) -> ReportData:
    """Put together what `reporting.backtest.page.write_report` writes, but for the explanation,
    which must be asked for.

    The true class of a prediction is what `market.trades.labels.label` says of its trade, with the
    horizon and cost that the model was trained for.
    """
    trades, metadata, predictions = result.trades, result.metadata, result.predictions
    moves = metadata.move_label
    labels = (
        np.full(len(trades), UNKNOWN, np.int8) if moves is None else label(trades.price, moves.horizon, moves.cost_bps)
    )
    instrument_id = trades.instrument.instrument_id
    own_settings = {
        "Least probability": f"{settings.min_probability:g}",
        "Least time between orders": format_duration(settings.cooldown_ns) if settings.cooldown_ns else "none",
    }
    return ReportData(
        title=f"{settings.model} {metadata.version} on {instrument_id}",
        instrument_id=instrument_id,
        simulated=trades.simulated,
        data={**data_labels(trades, "trade"), **instrument_labels(result.definition.as_dict())},
        model=model_labels(settings, metadata),
        settings=setting_labels(settings, result.currency, own_settings),
        notes=notes(settings, result),
        warnings=sample_warnings(result.in_sample, result.sample_note),
        ts_ns=trades.ts_init,
        price=trades.prices(),
        predictions=predictions,
        actual=labels[predictions["trade"].to_numpy()],
        class_names=CLASSES,
        min_probability=settings.min_probability,
        fills=result.fills,
        equity=result.equity,
        currency=result.currency,
        statistics=result.statistics,
        statistics_basis=result.statistics_basis,
        account=result.account,
        ruined_ns=None if result.ruin is None else result.ruin.ts_ns,
        orders=result.orders,
        log=trade_log(settings, metadata, instrument_id, result.currency, result.past_trades),
    )


def notes(settings: BacktestSettings, result: BacktestResult) -> tuple[str, ...]:
    """What a reader must know before believing the numbers; the gravest first."""
    moves = result.metadata.move_label
    scored = (
        "the archive does not say what its labels were (label in its model.json), so no prediction is scored"
        if moves is None
        else f"the model's labels call a move worth trading above {moves.cost_bps:g} bps"
    )
    return (
        *notes_on_events(settings, result, result, result.sample_note, "trade"),
        *result.trades.notes,
        note_on_latency(settings, "its trade was received"),
        "Bid and ask are the prices of the last seller and the last buyer. A market order fills at once at the other "
        "side's and one tick worse, what exceeds the last trade's size two ticks worse, whatever its size: "
        "trades have no order book, so there is neither depth nor impact. Between trades the quotes stand: a market "
        "without trades counts as open.",
        *_feed_notes(result.trades),
        f"Each fill costs a fee of {result.definition.fee_bps:g} bps; {scored}. {note_on_margin(result.definition)}",
    )


def _feed_notes(trades: Trades) -> list[str]:
    """What a reader must know where trades were received later than they were made."""
    delays = trades.ts_init - trades.ts_event
    if not delays.any():
        return []
    return [
        f"Trades were received {format_duration(int(np.median(delays)))} after they were made (median; at most "
        f"{format_duration(int(delays.max()))}). The model sees them then; orders meet the quotes that stood at the "
        "venue."
    ]


def summary(settings: BacktestSettings, result: BacktestResult) -> dict[str, Any]:
    """The result in plain JSON types; a number that cannot be computed is None."""
    return {
        "instrument_id": result.trades.instrument.instrument_id,
        "source": result.trades.source,
        "definition": result.definition.as_dict(),
        "simulated": result.trades.simulated,
        "notes": list(result.trades.notes),
        "sample": result.sample_note,
        "in_sample": result.in_sample,
        **model_summary(settings, result.metadata),
        "trades": len(result.trades),
        **trading_summary(result),
        "gave_up": result.gave_up,
        "currency": result.currency,
        "elapsed_s": result.elapsed_s,
        "trades_per_s": result.trades_per_s,
    }
