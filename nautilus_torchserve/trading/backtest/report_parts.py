"""Parts of a backtest's report: the labels and notes of any run, and the form of those of one kind of run."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from nautilus_trader.model.instruments import CryptoPerpetual
from numpy.typing import NDArray

from nautilus_torchserve.reporting.backtest.summary import account_figures
from nautilus_torchserve.reporting.fragments import moment
from nautilus_torchserve.scores.latency import percentiles_ms
from nautilus_torchserve.serving.model_metadata import FitRecord, ModelMetadata
from nautilus_torchserve.trading.backtest.holdout import MarketData, utc
from nautilus_torchserve.trading.backtest.results import BacktestResult, InstrumentResult, TradingResult
from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.durations import format_duration

UNKNOWN = "unknown (not recorded in the archive)"


@dataclass(frozen=True, eq=False)
class Section:
    """The part of a page that is specific to one kind of run."""

    data: Mapping[str, str]
    """About the events: label -> value."""
    settings: Mapping[str, str]
    """Settings of the strategy: label -> value."""
    notes: Sequence[str]
    """Trade-offs a reader must know."""
    predictions: pd.DataFrame
    """With a column for each class."""
    actual: NDArray[np.int8]
    """True class of each prediction, as in `ReportData`."""
    class_names: tuple[str, ...]
    min_probability: float
    """Minimum probability of BUY or SELL that the strategy acted on."""
    scored: bool = True
    """As in `ReportData`."""


class ReportKind(NamedTuple):
    """How one kind of run is reported."""

    noun: str
    """One event."""
    describe: Callable[[Any, BacktestResult, InstrumentResult[Any]], Section]
    """Given settings, run and one of its instruments."""
    counts: Callable[[Sequence[InstrumentResult[Any]]], Mapping[str, int]]
    """Counts for the summary, over some instruments."""
    lists_instruments: bool
    """Whether a summary lists the instruments one by one, as there may be several."""


def data_labels(data: MarketData, noun: str) -> dict[str, str]:
    """Return the labels of the data's source and period."""
    return {
        "Source": data.source,
        "Period": f"{utc(int(data.ts_event[0]))} to {utc(int(data.ts_event[-1]))}",
        f"{noun.capitalize()}s": f"{len(data):,}",
        "SHA-256": data.sha256,
    }


def instrument_labels(definition: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of an instrument's definition and its sources, given `Definition.as_dict`."""
    titles = {"type": "Instrument", "lot_size": "Lot size", "fee": "Taker fee"}
    properties = {
        titles.get(name, name.replace("_", " ").capitalize()): f"{field['value']} ({field['from']})"
        for name, field in definition.items()
        if name != "engine_id"
    }
    return {"NautilusTrader ID": definition["engine_id"], **properties}


def all_instruments_labels(definitions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return `instrument_labels` of one instrument, or of several under their names."""
    if len(definitions) == 1:
        return instrument_labels(definitions[0])
    return {
        f"{definition['engine_id']}: {title}": text
        for definition in definitions
        for title, text in instrument_labels(definition).items()
    }


def model_labels(settings: RunSettings, metadata: ModelMetadata) -> dict[str, str]:
    """Return the labels of the model."""
    return {
        "Name": settings.model,
        "Version": metadata.version,
        "Archive digest": metadata.archive_digest,
        "Feature schema": metadata.feature_schema_sha256,
        "Training data": _fitted_on(metadata.training),
        "Evaluation": evaluation_of(metadata),
        "Code": metadata.git_commit or "not from a git checkout",
        "Batch invariant": _same_bits(metadata),
        "Endpoint": settings.url,
    }


def evaluation_of(metadata: ModelMetadata) -> str:
    """Return the result of the model's evaluation in one sentence."""
    return UNKNOWN if metadata.edge is None else metadata.edge


def _fitted_on(training: FitRecord) -> str:
    source, until = training.source, training.last_ts_event
    return f"{UNKNOWN if source is None else source}, until {UNKNOWN if until is None else utc(until)}"


def _same_bits(metadata: ModelMetadata) -> str:
    if not metadata.batch_invariant:
        return UNKNOWN
    return f"yes, in tiles of {[*metadata.tile_rows]} rows on {metadata.device}"


def setting_labels(settings: RunSettings, currency: str, own: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of the backtest's settings; ``own`` holds those of its kind."""
    return {
        "Latency": describe_latency(settings),
        "Position size": str(settings.trade_size),
        **own,
        "Maximum prediction age": format_duration(settings.max_age_ns),
        "Fee per fill": "the instrument's" if settings.fee_bps is None else f"{settings.fee_bps:g} bps",
        **({"Funding": f"{settings.funding}"} if settings.funding is not None else {}),
        **({"Borrow": settings.borrow} if settings.borrow is not None else {}),
        "Starting balance": f"{settings.starting_balance:,} {currency}",
    }


def notes_on_events(settings: RunSettings, run: BacktestResult, result: InstrumentResult[Any], noun: str) -> list[str]:
    """Return notes on the data and on errors, the most severe first."""
    notes = [result.sample_note]
    if run.gave_up:
        notes.insert(0, f"THE MODEL STOPPED ANSWERING: no predictions after {settings.max_failures} failures in a row.")
    if result.ruin is not None:
        equity = f"{result.ruin.equity:,.2f} {run.currency} at {moment(result.ruin.ts_ns)}"
        notes.insert(0, f"RUINED: equity of {equity}; positions were closed at market and trading stopped.")
    if result.refused_orders:
        notes.append(f"{result.refused_orders:,} orders were denied or rejected; the last: {result.last_refused_order}")
    if result.failed:
        notes.append(
            f"{result.failed:,} {noun}s have no prediction because the request failed; the last error: {run.last_error}"
        )
    if result.refused:
        notes.append(
            f"{result.refused:,} {noun}s have no prediction because the model refused their features; the last error: "
            f"{run.last_refusal}"
        )
    ages = result.predictions["ts_init"] - result.predictions["ts_event"]
    if (too_old := int((ages > settings.max_age_ns).sum())) > 0:
        notes.append(
            f"{too_old:,} predictions were not acted on: on arrival their newest {noun} was older than "
            f"{format_duration(settings.max_age_ns)}, transport from the venue included."
        )
    if result.not_arrived:
        notes.append(f"{result.not_arrived:,} responses were due only after the last {noun} and never took effect.")
    return notes


def describe_latency(settings: RunSettings) -> str:
    """Return the simulated latency as text."""
    if settings.latency_profile is None:
        return format_duration(settings.latency_ns) if settings.latency_ns else "none"
    workers = "its workers" if settings.latency_workers is None else f"{settings.latency_workers} workers"
    return f"sampled from {settings.latency_profile}, queued for {workers}, seed {settings.latency_seed}"


def note_on_latency(settings: RunSettings, event: str) -> str:
    """Return the note on latency; ``event`` starts it: "its trade was received"."""
    if settings.latency_profile is None:
        after = f"{format_duration(settings.latency_ns)} after" if settings.latency_ns else "as soon as"
    else:
        after = "a sampled latency and the wait for a worker after"
    return (
        f"A prediction takes effect {after} {event}, and an order "
        "on it reaches the venue at that moment; the measured wall time of a request does not affect simulated time."
    )


def note_on_carry(result: InstrumentResult[Any]) -> str:
    """Return the note on margin, and on funding and the interest on what is sold short."""
    instrument = result.definition.instrument
    margin = instrument.margin_init
    on_margin = (
        f"A position requires a margin of {margin * 100:g}% of its value, which is checked at the start only."
        if margin
        else "Margin is not simulated."
    )
    if result.carry is None:
        is_perpetual = isinstance(instrument, CryptoPerpetual)
        without = "Funding of the perpetual is not charged (--funding)."
        return f"{without if is_perpetual else 'Borrowing is not charged (--borrow).'} {on_margin}"
    charged, cost = len(result.charges), float(sum(charge.cost for charge in result.charges))
    total = f"{charged:,} of {len(result.carry.dues):,} times met a position; the sum is {cost:,.6g} "
    total += f"{result.definition.settlement} paid."
    return " ".join([*result.carry.notes, total, on_margin])


def trading_summary(result: TradingResult) -> dict[str, Any]:
    """Return a result's numbers in plain JSON types; one that cannot be computed is None."""
    return {
        "predictions": len(result.predictions),
        "failed": result.failed,
        "refused": result.refused,
        "not_arrived": result.not_arrived,
        "orders": result.orders,
        "fills": len(result.fills),
        "positions": result.positions,
        "latency_ms": _finite(percentiles_ms(result.predictions["latency_ns"].to_numpy())),
        "refused_orders": result.refused_orders,
        "last_refused_order": result.last_refused_order,
        **account_figures(result.account),
        "fees": result.account.fees,
        "funding": result.account.funding,
        "borrow": result.account.borrow,
        "balance": result.account.end,
        "ruined": None if result.ruin is None else result.ruin._asdict(),
        "statistics": {group: _finite(values) for group, values in result.statistics.items()},
        "statistics_basis": dict(result.statistics_basis),
    }


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
