"""A backtest's results as report pages, one for each instrument, and as one object for a CI job."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nautilus_trader.persistence.funcs import urisafe_identifier

from nautilus_torchserve.market.bars.checks import reading_notes
from nautilus_torchserve.models.spec import load_object
from nautilus_torchserve.reporting.backtest.data import ReportData
from nautilus_torchserve.reporting.backtest.page import SUMMARY, write_report
from nautilus_torchserve.trading.backtest.attribution import trade_log
from nautilus_torchserve.trading.backtest.explain import with_explanation
from nautilus_torchserve.trading.backtest.market import market_of
from nautilus_torchserve.trading.backtest.report_parts import (
    ReportKind,
    data_labels,
    evaluation_of,
    instrument_labels,
    model_labels,
    notes_on_events,
    setting_labels,
    trading_summary,
)
from nautilus_torchserve.trading.backtest.results import BacktestResult, InstrumentResult
from nautilus_torchserve.trading.backtest.settings import RunSettings


def write_reports(settings: RunSettings, result: BacktestResult, folder: Path) -> Path:
    """Write a page for each instrument, with its most profitable trade explained.

    Returns
    -------
    Path
        ``folder/index.html`` where there is one instrument. Where there are several, each has a folder
        of its own name for its page, and this is ``folder/summary.json`` over all of them.
    """
    if len(result.instruments) == 1:
        return write_report(with_explanation(settings, report_data(settings, result, result.instruments[0])), folder)
    for instrument_result in result.instruments:
        name = urisafe_identifier(instrument_result.data.instrument.instrument_id)
        write_report(with_explanation(settings, report_data(settings, result, instrument_result)), folder / name)
    path = folder / SUMMARY
    path.write_text(json.dumps(summary(settings, result), indent=2))
    return path


def report_data(settings: RunSettings, run: BacktestResult, result: InstrumentResult[Any]) -> ReportData:
    """Return what `reporting.backtest.page.write_report` writes about one instrument, without an explanation."""
    kind = _report_kind(settings)
    section = kind.describe(settings, run, result)
    data, metadata = result.data, run.metadata
    instrument_id = data.instrument.instrument_id
    return ReportData(
        title=f"{settings.model} {metadata.version} on {instrument_id}",
        instrument_id=instrument_id,
        simulated=data.simulated,
        data={
            **data_labels(data, kind.noun),
            **section.data,
            **instrument_labels(result.definition.as_dict()),
        },
        model=model_labels(settings, metadata),
        settings=setting_labels(settings, run.currency, section.settings),
        notes=_notes(settings, run, result, kind.noun, section.notes),
        warnings=() if result.in_sample is False else (result.sample_note,),
        ts_ns=market_of(settings).marks(data)[0],
        price=data.prices(),
        predictions=section.predictions,
        actual=section.actual,
        class_names=section.class_names,
        min_probability=section.min_probability,
        fills=result.fills,
        equity=result.equity,
        currency=run.currency,
        statistics=result.statistics,
        statistics_basis=result.statistics_basis,
        account=result.account,
        ruined_ns=None if result.ruin is None else result.ruin.ts_ns,
        orders=result.orders,
        events=f"{kind.noun}s",
        scored=section.scored,
        log=trade_log(settings, metadata, instrument_id, run.currency, result.past_trades),
    )


def _notes(
    settings: RunSettings, run: BacktestResult, result: InstrumentResult[Any], noun: str, others: Sequence[str]
) -> tuple[str, ...]:
    """Return the notes on a result, the most severe first."""
    notes = [*notes_on_events(settings, run, result, noun), *others]
    if len(run.instruments) > 1:
        names = ", ".join(instrument.data.instrument.instrument_id for instrument in run.instruments)
        notes.append(
            f"One of {len(run.instruments)} instruments of a run ({names}); equity and statistics are per instrument."
        )
    return tuple(notes)


def summary(settings: RunSettings, run: BacktestResult) -> dict[str, Any]:
    """Return the result in plain JSON types; a number that cannot be computed is None."""
    kind = _report_kind(settings)
    instruments = [_instrument_summary(kind, instrument) for instrument in run.instruments]
    first = instruments[0]
    return {
        "instrument_id": ", ".join(instrument["instrument_id"] for instrument in instruments),
        "source": ", ".join(dict.fromkeys(instrument["source"] for instrument in instruments)),
        "simulated": any(instrument["simulated"] for instrument in instruments),
        "notes": list(dict.fromkeys(note for instrument in instruments for note in instrument["notes"])),
        "sample": run.sample_note,
        "in_sample": run.in_sample,
        "model": settings.model,
        "version": run.metadata.version,
        "archive_digest": run.metadata.archive_digest,
        **kind.counts(run.instruments),
        **trading_summary(run),
        "gave_up": run.gave_up,
        "currency": run.currency,
        "elapsed_s": run.elapsed_s,
        f"{kind.noun}s_per_s": run.events_per_s,
        **(
            {"edge": evaluation_of(run.metadata), "instruments": instruments}
            if kind.lists_instruments
            else {"definition": first["definition"]}
        ),
    }


def _instrument_summary(kind: ReportKind, result: InstrumentResult[Any]) -> dict[str, Any]:
    return {
        "instrument_id": result.data.instrument.instrument_id,
        "source": result.data.source,
        "definition": result.definition.as_dict(),
        "simulated": result.data.simulated,
        "notes": reading_notes(result.data),
        "sample": result.sample_note,
        "in_sample": result.in_sample,
        **kind.counts([result]),
        **trading_summary(result),
    }


def _report_kind(settings: RunSettings) -> ReportKind:
    kind: ReportKind = load_object(market_of(settings).report)
    return kind
