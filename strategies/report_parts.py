"""What reports on any backtest say."""

import math
from collections.abc import Mapping
from typing import Any

from reporting.metrics import percentiles_ms
from strategies.bookkeeping import InstrumentResult, RunResult
from strategies.durations import format_duration
from strategies.run_settings import RunSettings
from strategies.sample import MarketData, utc


def data_labels(data: MarketData, noun: str) -> dict[str, str]:
    """Where the trades or bars came from."""
    return {
        "Source": data.source,
        "Period": f"{utc(int(data.ts_event[0]))} to {utc(int(data.ts_event[-1]))}",
        f"{noun.capitalize()}s run on": f"{len(data):,}",
        "SHA-256 of these": data.sha256,
    }


def model_labels(settings: RunSettings, metadata: Mapping[str, Any]) -> dict[str, str]:
    """Which model predicted."""
    return {
        "Name": settings.model,
        "Version": metadata["version"],
        "Archive digest": metadata["archive_digest"],
        "Feature schema": metadata["feature_schema_sha256"],
        "Fitted on": f"{metadata['training']['source']}, until {utc(metadata['training']['last_ts_event'])}",
        "Its evaluation": metadata["metrics"]["edge"],
        "Code": metadata["git_commit"] or "outside of a checkout",
        "Same bits in any batch": f"yes, in tiles of {metadata['tile_rows']} rows on {metadata['device']}",
        "Asked at": settings.url,
    }


def setting_labels(settings: RunSettings, currency: str, own: Mapping[str, str]) -> dict[str, str]:
    """What the backtest was run with; ``own`` holds the settings of its kind."""
    return {
        "Latency": latency_words(settings),
        "Position size": str(settings.trade_size),
        **own,
        "Oldest prediction traded on": format_duration(settings.max_age_ns),
        "Fee on each fill": f"{settings.fee_bps:g} bps",
        "Account at the start": f"{settings.starting_balance:,} {currency}",
    }


def notes_on_events(
    settings: RunSettings, run: RunResult, result: InstrumentResult, sample_note: str, noun: str
) -> list[str]:
    """What was run on and what went wrong, the gravest first."""
    said = [sample_note]
    if run.gave_up:
        said.insert(0, f"THE MODEL STOPPED ANSWERING: no predictions after {settings.max_failures} failures in a row.")
    if result.failed:
        said.append(f"{result.failed:,} requests failed, their {noun}s had no prediction; the last: {run.last_error}")
    if result.refused:
        said.append(
            f"The model refused {result.refused:,} {noun}s' features, which had no prediction; the last: "
            f"{run.last_refusal}"
        )
    ages = result.predictions["ts_init"] - result.predictions["ts_event"]
    if (too_old := int((ages > settings.max_age_ns).sum())) > 0:
        said.append(
            f"{too_old:,} predictions were not traded on: their newest {noun} was older than "
            f"{format_duration(settings.max_age_ns)} when they arrived, its way from the venue included."
        )
    if result.not_arrived:
        said.append(f"{result.not_arrived:,} answers were due only after the last {noun} and never took effect.")
    return said


def latency_words(settings: RunSettings) -> str:
    """The time from an event to the answer about it."""
    if settings.latency_profile is None:
        return format_duration(settings.latency_ns) if settings.latency_ns else "none"
    workers = "its workers" if settings.latency_workers is None else f"{settings.latency_workers} workers"
    return f"drawn from {settings.latency_profile}, queued for {workers}, seed {settings.latency_seed}"


def note_on_latency(settings: RunSettings, event: str) -> str:
    """When a prediction counts; ``event`` is what it follows: "its trade was received"."""
    if settings.latency_profile is None:
        after = f"{format_duration(settings.latency_ns)} after" if settings.latency_ns else "at once when"
    else:
        after = "a recorded latency and the wait for a worker after"
    return (
        f"A prediction takes effect {after} {event}, and an order "
        "on it is at the venue at that moment; the measured wall time of the call changes nothing in simulated time."
    )


def model_summary(settings: RunSettings, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Which model predicted, and on what terms."""
    return {
        "in_sample": settings.in_sample,
        "model": settings.model,
        "version": metadata["version"],
        "archive_digest": metadata["archive_digest"],
    }


def trading_summary(result: InstrumentResult) -> dict[str, Any]:
    """One instrument's numbers in plain JSON types; one that cannot be computed is None."""
    return {
        "predictions": len(result.predictions),
        "failed": result.failed,
        "refused": result.refused,
        "not_arrived": result.not_arrived,
        "orders": result.orders,
        "fills": len(result.fills),
        "positions": result.positions,
        "latency_ms": _finite(percentiles_ms(result.predictions["latency_ns"].to_numpy())),
        "pnl": float(result.equity["equity"].iloc[-1] - result.equity["equity"].iloc[0]),
        "fees": float(result.fills["fee"].sum()),
        "statistics": {group: _finite(values) for group, values in result.statistics.items()},
    }


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
