"""Report of a backtest on trades."""

from collections.abc import Sequence

import numpy as np

from nautilus_torchserve.market.trades.labels import UNKNOWN, label
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.holdout import utc
from nautilus_torchserve.trading.backtest.report_parts import ReportKind, Section, note_on_carry, note_on_latency
from nautilus_torchserve.trading.backtest.results import BacktestResult, InstrumentResult
from nautilus_torchserve.trading.backtest.tick.market import CLASSES, TradeMarket
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.durations import format_duration
from nautilus_torchserve.trading.instruments.conform import conform


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
        data={"Quotes": _quotes_label(result)},
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
        *_quote_notes(result),
        *_feed_notes(result.data),
        f"Each fill costs a fee of {result.definition.fee_bps:g} bps; {scored}. {note_on_carry(result)}",
    ]


def _quotes_label(result: InstrumentResult[Trades]) -> str:
    quotes = result.quotes
    if quotes is None:
        return "implied by the trades"
    return f"{len(quotes):,} of {quotes.source}, {utc(int(quotes.ts_event[0]))} to {utc(int(quotes.ts_event[-1]))}"


def _quote_notes(result: InstrumentResult[Trades]) -> list[str]:
    """Return the notes on the quotes that orders met."""
    fills = "A market order fills at once at the other side's and one tick worse, what exceeds"
    if result.quotes is None:
        return [
            f"Bid and ask are the prices of the last seller and the last buyer. {fills} the last trade's size two "
            "ticks worse, whatever its size: trades have no order book, so there is neither depth nor impact. Between "
            "trades the quotes stand: a market without trades counts as open."
        ]
    quotes, trades = result.quotes, conform(result.data, result.definition.instrument)
    in_force = np.maximum(np.searchsorted(quotes.ts_event, trades.ts_event, side="right") - 1, 0)
    oldest_ns = int((trades.ts_event - quotes.ts_event[in_force]).max())
    inside = (quotes.bid_price[in_force] <= trades.price) & (trades.price <= quotes.ask_price[in_force])
    return [
        f"Bid and ask are those of {len(quotes):,} quotes of the venue. {fills} the quoted size two ticks worse, "
        "whatever its size: beyond the top of the book there is neither depth nor impact. A quote stands until the "
        f"next: the oldest that a trade met was {format_duration(oldest_ns)} old. {inside.mean():.1%} of the trades "
        "were made at bid and ask or between them.",
        *quotes.notes,
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
    """Return the counts; no quotes means that the trades imply them."""
    return {
        "trades": sum(len(result.data) for result in results),
        "quotes": sum(len(result.quotes) for result in results if result.quotes is not None),
    }


REPORT = ReportKind("trade", describe, _counts, lists_instruments=False)
