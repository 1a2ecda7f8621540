"""A backtest's results as the report page takes them, and as one object for a CI job."""

import math
from collections.abc import Mapping
from typing import Any

from market.labels import label
from reporting.data import ReportData
from reporting.metrics import percentiles_ms
from strategies.durations import format_duration
from strategies.results import CLASSES, BacktestResult
from strategies.sample import utc
from strategies.settings import BacktestSettings


def report_data(settings: BacktestSettings, result: BacktestResult) -> ReportData:
    """Put together what `reporting.page.write_report` writes.

    The true class of a prediction is what `market.labels.label` says of its trade, with the
    horizon and cost that the model was trained for.
    """
    trades, metadata, predictions = result.trades, result.metadata, result.predictions
    labels = label(trades.price, metadata["label"]["horizon"], metadata["label"]["cost_bps"])
    instrument_id = trades.instrument.instrument_id
    return ReportData(
        title=f"{settings.model} {metadata['version']} on {instrument_id}",
        instrument_id=instrument_id,
        simulated=trades.simulated,
        data={
            "Source": trades.source,
            "Period": f"{utc(int(trades.ts_event[0]))} to {utc(int(trades.ts_event[-1]))}",
            "Trades run on": f"{len(trades):,}",
            "SHA-256 of these": trades.sha256,
        },
        model={
            "Name": settings.model,
            "Version": metadata["version"],
            "Archive digest": metadata["archive_digest"],
            "Feature schema": metadata["feature_schema_sha256"],
            "Fitted on": f"{metadata['training']['source']}, until {utc(metadata['training']['last_ts_event'])}",
            "Its evaluation": metadata["metrics"]["edge"],
            "Code": metadata["git_commit"] or "outside of a checkout",
            "Same bits in any batch": f"yes, in tiles of {metadata['tile_rows']} rows on {metadata['device']}",
            "Asked at": settings.url,
        },
        settings=_settings(settings, result.currency),
        notes=notes(settings, result),
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
        orders=result.orders,
    )


def notes(settings: BacktestSettings, result: BacktestResult) -> tuple[str, ...]:
    """What a reader must know before believing the numbers; the gravest first."""
    cost_bps = result.metadata["label"]["cost_bps"]
    said = [result.sample_note]
    if result.gave_up:
        said.insert(0, f"THE MODEL STOPPED ANSWERING: no predictions after {settings.max_failures} failures in a row.")
    if result.failed:
        said.append(f"{result.failed:,} requests failed, their trades had no prediction; the last: {result.last_error}")
    ages = result.predictions["ts_init"] - result.predictions["ts_event"]
    if (too_old := int((ages > settings.max_age_ns).sum())) > 0:
        said.append(
            f"{too_old:,} predictions were not traded on: their newest trade was older than "
            f"{format_duration(settings.max_age_ns)} when they arrived, its way from the venue included."
        )
    if result.not_arrived:
        said.append(f"{result.not_arrived:,} answers were due only after the last trade and never took effect.")
    said += [
        f"A prediction takes effect {format_duration(settings.latency_ns)} after its trade was received, and an order "
        "on it is at the venue at that moment; the measured wall time of the call changes nothing in simulated time.",
        "Bid and ask are the prices of the last seller and the last buyer. A market order fills at once at the other "
        "side's and one price step worse, what exceeds the last trade's size two steps worse, whatever its size: "
        "trades have no order book, so there is neither depth nor impact.",
        f"Each fill costs a fee of {settings.fee_bps:g} bps; the model's labels call a move worth trading above "
        f"{cost_bps:g} bps. There is no funding and no margin.",
    ]
    return tuple(said)


def summary(settings: BacktestSettings, result: BacktestResult) -> dict[str, Any]:
    """The result in plain JSON types; a number that cannot be computed is None."""
    start = result.equity["equity"].iloc[0]
    return {
        "instrument_id": result.trades.instrument.instrument_id,
        "source": result.trades.source,
        "simulated": result.trades.simulated,
        "in_sample": settings.in_sample,
        "sample": result.sample_note,
        "model": settings.model,
        "version": result.metadata["version"],
        "archive_digest": result.metadata["archive_digest"],
        "trades": len(result.trades),
        "predictions": len(result.predictions),
        "failed": result.failed,
        "gave_up": result.gave_up,
        "not_arrived": result.not_arrived,
        "orders": result.orders,
        "fills": len(result.fills),
        "positions": result.positions,
        "currency": result.currency,
        "latency_ms": _finite(percentiles_ms(result.predictions["latency_ns"].to_numpy())),
        "pnl": float(result.equity["equity"].iloc[-1] - start),
        "fees": float(result.fills["fee"].sum()),
        "statistics": {group: _finite(values) for group, values in result.statistics.items()},
        "elapsed_s": result.elapsed_s,
        "trades_per_s": result.trades_per_s,
    }


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _settings(settings: BacktestSettings, currency: str) -> dict[str, str]:
    return {
        "Latency": format_duration(settings.latency_ns),
        "Position size": str(settings.trade_size),
        "Least probability": f"{settings.min_probability:g}",
        "Least time between orders": format_duration(settings.cooldown_ns) if settings.cooldown_ns else "none",
        "Oldest prediction traded on": format_duration(settings.max_age_ns),
        "Fee on each fill": f"{settings.fee_bps:g} bps",
        "Account at the start": f"{settings.starting_balance:,} {currency}",
    }
