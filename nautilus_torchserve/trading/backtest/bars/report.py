"""Report of a backtest on bars, with or without headlines."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.checks import reading_notes
from nautilus_torchserve.reporting.backtest.data import UNKNOWN
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.bars.market import BarMarket
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.report_parts import ReportKind, Section, note_on_carry, note_on_latency
from nautilus_torchserve.trading.backtest.results import BacktestResult, InstrumentResult
from nautilus_torchserve.trading.durations import format_duration

CLASSES = ("buy", "sell")
"""Classes of a price model's forecast of the next return: positive, negative."""


def describe(settings: BarBacktestSettings, run: BacktestResult, result: InstrumentResult[Bars]) -> Section:
    """Return the page's section on bars and their predictions."""
    bars, metadata = result.data, run.metadata
    holding_ns = settings.holding_ns(metadata)
    directions = next_directions(bars, metadata.require_bars().max_gap_ns)
    return Section(
        data={"Bar": format_duration(bars.interval_ns), **_news_labels(result)},
        settings={
            "Minimum confidence": f"{settings.min_confidence:g}",
            "Minimum expected return": f"{settings.threshold_bps(result.definition.instrument):g} bps",
            "Signal horizon": f"{format_duration(holding_ns)} ({holding_ns / bars.interval_ns:g} bars)",
            "Assumed spread": f"{settings.spread_bps:g} bps",
        },
        notes=_notes(settings, run, result),
        predictions=_with_classes(result.predictions),
        actual=directions[result.predictions[BarMarket.noun].to_numpy()],
        class_names=CLASSES,
        min_probability=settings.min_confidence,
    )


def next_directions(bars: Bars, max_gap_ns: int) -> NDArray[np.int8]:
    """Return the class of each bar's next return from close to close, an index into `CLASSES`, int8 [n].

    `UNKNOWN` for a return of zero, across a break, and for the last bar.
    """
    change = np.diff(bars.close)
    classes = np.where(change > 0, 0, np.where(change < 0, 1, UNKNOWN))
    classes[np.diff(bars.ts_event) > max_gap_ns] = UNKNOWN
    return np.append(classes, UNKNOWN).astype(np.int8)


def _notes(settings: BarBacktestSettings, run: BacktestResult, result: InstrumentResult[Bars]) -> list[str]:
    notes = []
    if result.warm:
        notes.append(f"The {result.warm:,} bars before the first prediction only filled its window.")
    if result.without_volume:
        notes.append(
            f"{result.without_volume:,} bars end a window without any volume; no predictions were requested for them."
        )
    threshold_bps = settings.threshold_bps(result.definition.instrument)
    return [
        *notes,
        *_news_notes(result, run.metadata),
        *reading_notes(result.data),
        note_on_latency(settings, "its bar closed"),
        f"The spread of {settings.spread_bps:g} bps is an assumption: bars hold no quotes. An order sent after a close "
        "fills at the next bar's open plus half the spread and one tick of slippage, whatever its size. Depth and "
        "market impact are not simulated.",
        "The market is closed while no bar is in progress. An order sent then waits for the next open and fills there "
        f"in the same way: {result.held:,} of {result.orders:,} orders did.",
        f"Each fill costs a fee of {result.definition.fee_bps:g} bps; only expected returns above {threshold_bps:g} "
        f"bps are acted on. {note_on_carry(result)}",
        "The probability of BUY is the confidence where the expected return is positive, else 1 minus it; the outcome "
        "is BUY where the next close was higher. Unchanged closes and those after a break count as unknown.",
    ]


def _with_classes(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the predictions with a probability for each of `CLASSES`."""
    confidence = predictions["confidence"].to_numpy(dtype=np.float64)
    buy = np.where(predictions["return_bps"] > 0, confidence, 1 - confidence)
    return predictions.assign(buy=buy, sell=1 - buy)


def _with_news(result: InstrumentResult[Bars]) -> int:
    """Return the number of predictions with news."""
    return int((result.predictions["texts"] > 0).sum())


def _news_labels(result: InstrumentResult[Bars]) -> dict[str, str]:
    """Return the labels of the headlines."""
    if result.news is None:
        return {}
    with_news, total = _with_news(result), len(result.predictions)
    share = f" ({with_news / total:.1%})" if total else ""
    return {
        "Headlines received": f"{result.news.headlines:,}",
        "Predictions with news": f"{with_news:,} of {total:,}{share}",
    }


def _news_notes(result: InstrumentResult[Bars], metadata: ModelMetadata) -> list[str]:
    """Return the notes on the headlines."""
    news, name = result.news, result.data.instrument.instrument_id
    if news is None:
        return []
    if not news.headlines:
        return [f"NO HEADLINES on {name} in the period of the bars: all forecasts are the price model's alone."]
    window = metadata.require_news()
    notes = [
        f"A headline is sent with the bars received after it (ts_init), the newest {window.max_texts}, for "
        f"{format_duration(window.max_age_ns)}; where there is none, the forecast is the price model's alone."
    ]
    if news.unread:
        notes.append(
            f"{news.unread:,} headlines could not be read and were skipped; the last error: {news.last_refusal}"
        )
    return notes


def _news_summary(results: Sequence[InstrumentResult[Bars]]) -> dict[str, int]:
    """Return counts of headlines over some instruments; a headline on two of them counts twice."""
    counts = [result.news for result in results if result.news is not None]
    if not counts:
        return {}
    return {
        "headlines": sum(count.headlines for count in counts),
        "headlines_unread": sum(count.unread for count in counts),
        "with_news": sum(map(_with_news, results)),
    }


def _counts(results: Sequence[InstrumentResult[Bars]]) -> dict[str, int]:
    return {
        "bars": sum(len(result.data) for result in results),
        "orders_held": sum(result.held for result in results),
        "without_volume": sum(result.without_volume for result in results),
        **_news_summary(results),
    }


REPORT = ReportKind("bar", describe, _counts, lists_instruments=True)
