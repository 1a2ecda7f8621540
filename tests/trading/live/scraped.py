"""A run's metrics as Prometheus reads them, and as its audit log expects them."""

from collections import Counter
from decimal import Decimal
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nautilus_torchserve.audit.records import (
    AuditLog,
    DecisionRecord,
    FillRecord,
    HaltRecord,
    OrderRecord,
    RequestRecord,
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Name and sorted labels -> value."""


def scrape(port: int) -> Samples:
    """Return all samples at a port, but for the times at which they were made."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    wanted = set(labels.items())
    return sum(number for (metric, pairs), number in samples.items() if metric == name and wanted <= set(pairs))


def of(samples: Samples, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return values of some labels -> sum of a metric's samples, where it is not 0."""
    totals: Counter[tuple[str, ...]] = Counter()
    for (metric, pairs), number in samples.items():
        if metric == name:
            totals[tuple(dict(pairs)[label] for label in labels)] += number
    return {key: number for key, number in totals.items() if number}


def assert_equal_to_log(samples: Samples, log: AuditLog, run_id: str) -> None:
    """Assert that the samples agree with the run's log: calls, predictions, orders, fills, positions, halts."""
    requests, decisions = log.read(RequestRecord, run_id=run_id), log.read(DecisionRecord, run_id=run_id)
    events, fills = log.read(OrderRecord, run_id=run_id), log.read(FillRecord, run_id=run_id)
    tags = {
        event.client_order_id: dict(tag.split("=", 1) for tag in event.tags if "=" in tag)
        for event in events
        if event.event == "INITIALIZED"
    }

    def opened_by(order_id: str) -> tuple[str, str]:
        return tags[order_id].get("model") or "none", tags[order_id].get("version") or "none"

    assert of(samples, "model_questions_total", "fate") == Counter((request.fate,) for request in requests)
    calls = {(request.sent_ns, request.url): request for request in requests if request.sent_ns}
    assert value(samples, "model_request_latency_seconds_count") == len(calls)
    assert value(samples, "model_request_latency_seconds_sum") == _close(
        sum(call.latency_ns for call in calls.values()) / 1e9
    )
    assert value(samples, "model_request_rows_sum") == sum(bool(request.sent_ns) for request in requests)
    assert value(samples, "model_request_errors_total") == sum(bool(call.error) for call in calls.values())
    assert of(samples, "model_predictions_total", "status", "version") == Counter(
        (decision.status, decision.version) for decision in decisions
    )
    assert of(samples, "trading_order_events_total", "event") == Counter(
        [*((event.event.lower(),) for event in events), *(("filled",) for _ in fills)]
    )
    assert of(samples, "trading_fills_total", "model", "version", "side") == Counter(
        (*opened_by(fill.client_order_id), fill.side.lower()) for fill in fills
    )
    filled: Counter[tuple[str, ...]] = Counter()
    for fill in fills:
        filled[fill.side.lower(),] += Decimal(fill.quantity)  # type: ignore[assignment]
    quantities = of(samples, "trading_filled_quantity_total", "side")
    assert quantities == {side: _close(float(quantity)) for side, quantity in filled.items()}
    bought = sum(Decimal(fill.quantity) * (1 if fill.side == "BUY" else -1) for fill in fills)
    assert value(samples, "trading_position") == _close(float(bought))
    assert value(samples, "trading_halts_total") == len(log.read(HaltRecord, run_id=run_id))


def _close(number: float) -> object:
    return pytest.approx(number, rel=1e-9, abs=1e-9)
