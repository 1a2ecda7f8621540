"""A bar backtest's results as report pages, one for each instrument, and as one object for a CI job."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nautilus_trader.persistence.funcs import urisafe_identifier
from numpy.typing import NDArray

from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.checks import reading_notes
from nautilus_torchserve.reporting.backtest.data import UNKNOWN, ReportData
from nautilus_torchserve.reporting.backtest.page import SUMMARY, write_report
from nautilus_torchserve.trading.backtest.attribution import trade_log
from nautilus_torchserve.trading.backtest.bars_results import BarBacktestResult, BarResult
from nautilus_torchserve.trading.backtest.bars_settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.explain import with_explanation
from nautilus_torchserve.trading.backtest.news_report import news_labels, news_notes, news_summary
from nautilus_torchserve.trading.backtest.report_parts import (
    data_labels,
    evaluation_of,
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
from nautilus_torchserve.trading.durations import format_duration

CLASSES = ("buy", "sell")
"""What a price model says of the next return: positive, negative."""


def write_bar_reports(settings: BarBacktestSettings, result: BarBacktestResult, folder: Path) -> Path:
    """Write a page for each instrument, with its most profitable trade explained.

    Returns
    -------
    Path
        ``folder/index.html`` where there is one instrument. Where there are several, each has a folder
        of its own name for its page, and this is ``folder/summary.json`` over all of them.
    """
    if len(result.instruments) == 1:
        return write_report(with_explanation(settings, report_data(settings, result, result.instruments[0])), folder)
    for each in result.instruments:
        name = urisafe_identifier(each.bars.instrument.instrument_id)
        write_report(with_explanation(settings, report_data(settings, result, each)), folder / name)
    path = folder / SUMMARY
    path.write_text(json.dumps(summary(settings, result), indent=2))
    return path


def report_data(settings: BarBacktestSettings, run: BarBacktestResult, result: BarResult) -> ReportData:
    """Put together what `reporting.backtest.page.write_report` writes about one instrument."""
    bars, metadata = result.bars, run.metadata
    instrument_id = bars.instrument.instrument_id
    holding_ns = settings.holding_ns(metadata)
    own_settings = {
        "Least confidence": f"{settings.min_confidence:g}",
        "Expected return above": f"{settings.threshold_bps(result.definition.instrument):g} bps",
        "A signal holds for": f"{format_duration(holding_ns)} ({holding_ns / bars.interval_ns:g} bars)",
        "Spread assumed": f"{settings.spread_bps:g} bps",
    }
    directions = next_directions(bars, metadata.require_bars().max_gap_ns)
    return ReportData(
        title=f"{settings.model} {metadata.version} on {instrument_id}",
        instrument_id=instrument_id,
        simulated=bars.simulated,
        data={
            **data_labels(bars, "bar"),
            "Bar": format_duration(bars.interval_ns),
            **instrument_labels(result.definition.as_dict()),
            **news_labels(result),
        },
        model=model_labels(settings, metadata),
        settings=setting_labels(settings, run.currency, own_settings),
        notes=notes(settings, run, result),
        warnings=sample_warnings(result.in_sample, result.sample_note),
        ts_ns=bars.ts_event,
        price=bars.prices(),
        predictions=_with_classes(result.predictions),
        actual=directions[result.predictions["bar"].to_numpy()],
        class_names=CLASSES,
        min_probability=settings.min_confidence,
        fills=result.fills,
        equity=result.equity,
        currency=run.currency,
        statistics=result.statistics,
        statistics_basis=result.statistics_basis,
        account=result.account,
        ruined_ns=None if result.ruin is None else result.ruin.ts_ns,
        orders=result.orders,
        events="bars",
        log=trade_log(settings, metadata, instrument_id, run.currency, result.past_trades),
    )


def next_directions(bars: Bars, max_gap_ns: int) -> NDArray[np.int8]:
    """The class of each bar's next return from close to close, an index into `CLASSES`, int8 [n].

    `UNKNOWN` for a return of zero, across a break, and for the last bar.
    """
    change = np.diff(bars.close)
    classes = np.where(change > 0, 0, np.where(change < 0, 1, UNKNOWN))
    classes[np.diff(bars.ts_event) > max_gap_ns] = UNKNOWN
    return np.append(classes, UNKNOWN).astype(np.int8)


def notes(settings: BarBacktestSettings, run: BarBacktestResult, result: BarResult) -> tuple[str, ...]:
    """What a reader must know before believing the numbers; the gravest first."""
    said = notes_on_events(settings, run, result, result.sample_note, "bar")
    if result.warm:
        said.append(f"The {result.warm:,} bars before filled the first window; they were not asked about.")
    if result.without_volume:
        said.append(
            f"{result.without_volume:,} bars end a window without any volume; the model was not asked about them."
        )
    said += news_notes(result, run.metadata)
    said += reading_notes(result.bars)
    said += [
        note_on_latency(settings, "its bar closed"),
        f"The spread of {settings.spread_bps:g} bps is an assumption: bars hold no quotes. An order sent after a close "
        "meets the next bar's open, half the spread and one tick worse, at once and whatever its size. There is "
        "neither depth nor impact.",
        "The market is closed while no bar is in progress. An order sent then waits for the next open, and fills there "
        f"in the same way: {result.held:,} of {result.orders:,} did.",
        f"Each fill costs a fee of {result.definition.fee_bps:g} bps; only expected returns above "
        f"{settings.threshold_bps(result.definition.instrument):g} bps are acted on. "
        + note_on_margin(result.definition),
        "A probability of BUY is the confidence where the expected return is positive, else 1 less it; it came true "
        "where the next close was higher. Unchanged closes and those after a break count as unknown.",
    ]
    if len(run.instruments) > 1:
        names = ", ".join(each.bars.instrument.instrument_id for each in run.instruments)
        said.append(f"One of {len(run.instruments)} instruments of a run ({names}); equity and statistics are its own.")
    return tuple(said)


def summary(settings: BarBacktestSettings, run: BarBacktestResult) -> dict[str, Any]:
    """The result in plain JSON types; a number that cannot be computed is None."""
    instruments = [
        {
            "instrument_id": each.bars.instrument.instrument_id,
            "source": each.bars.source,
            "definition": each.definition.as_dict(),
            "simulated": each.bars.simulated,
            "notes": reading_notes(each.bars),
            "sample": each.sample_note,
            "in_sample": each.in_sample,
            "bars": len(each.bars),
            "orders_held": each.held,
            "without_volume": each.without_volume,
            **trading_summary(each),
            **news_summary([each]),
        }
        for each in run.instruments
    ]
    together = run.together()
    return {
        "instrument_id": ", ".join(each["instrument_id"] for each in instruments),
        "source": ", ".join(dict.fromkeys(each["source"] for each in instruments)),
        "simulated": any(each["simulated"] for each in instruments),
        "notes": list(dict.fromkeys(note for each in instruments for note in each["notes"])),
        "sample": run.sample_note,
        "in_sample": run.in_sample,
        **model_summary(settings, run.metadata),
        "edge": evaluation_of(run.metadata),
        "bars": sum(each["bars"] for each in instruments),
        "orders_held": sum(each.held for each in run.instruments),
        "without_volume": sum(each["without_volume"] for each in instruments),
        **trading_summary(together),
        **news_summary(run.instruments),
        "gave_up": run.gave_up,
        "currency": run.currency,
        "elapsed_s": run.elapsed_s,
        "bars_per_s": run.bars_per_s,
        "instruments": instruments,
    }


def _with_classes(predictions: pd.DataFrame) -> pd.DataFrame:
    """The predictions with a probability for each of `CLASSES`."""
    confidence = predictions["confidence"].to_numpy(dtype=np.float64)
    buy = np.where(predictions["return_bps"] > 0, confidence, 1 - confidence)
    return predictions.assign(buy=buy, sell=1 - buy)
