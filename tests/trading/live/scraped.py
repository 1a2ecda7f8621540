"""A run's metrics as Prometheus reads them, and as its audit log says that they ought to be."""

from collections import Counter
from decimal import Decimal
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nautilus_torchserve.audit.log import AuditLog
from nautilus_torchserve.audit.records import DecisionRecord, FillRecord, HaltRecord, OrderRecord, RequestRecord

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Name and sorted labels -> value."""


def scrape(port: int) -> Samples:
    """All samples at a port, but for the times at which they were made."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    wanted = set(labels.items())
    return sum(number for (found, said), number in samples.items() if found == name and wanted <= set(said))


def of(samples: Samples, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Values of some labels -> sum of a metric's samples, where it is not 0."""
    found: Counter[tuple[str, ...]] = Counter()
    for (metric, said), number in samples.items():
        if metric == name:
            found[tuple(dict(said)[label] for label in labels)] += number
    return {key: number for key, number in found.items() if number}


def assert_equal_to_log(samples: Samples, log: AuditLog, run_id: str) -> None:
    """What was scraped is what the run's log holds: calls, predictions, orders, fills, positions, halts."""
    asked, decisions = log.read(RequestRecord, run_id=run_id), log.read(DecisionRecord, run_id=run_id)
    events, fills = log.read(OrderRecord, run_id=run_id), log.read(FillRecord, run_id=run_id)
    tags = {
        each.client_order_id: dict(tag.split("=", 1) for tag in each.tags if "=" in tag)
        for each in events
        if each.event == "INITIALIZED"
    }

    def whose(order_id: str) -> tuple[str, str]:
        return tags[order_id].get("model") or "none", tags[order_id].get("version") or "none"

    assert of(samples, "model_questions_total", "fate") == Counter((each.fate,) for each in asked)
    calls = {(each.sent_ns, each.url): each for each in asked if each.sent_ns}
    assert value(samples, "model_request_latency_seconds_count") == len(calls)
    assert value(samples, "model_request_latency_seconds_sum") == _close(
        sum(each.latency_ns for each in calls.values()) / 1e9
    )
    assert value(samples, "model_request_rows_sum") == sum(bool(each.sent_ns) for each in asked)
    assert value(samples, "model_request_errors_total") == sum(bool(each.error) for each in calls.values())
    assert of(samples, "model_predictions_total", "status", "version") == Counter(
        (each.status, each.version) for each in decisions
    )
    assert of(samples, "trading_order_events_total", "event") == Counter(
        [*((each.event.lower(),) for each in events), *(("filled",) for _ in fills)]
    )
    assert of(samples, "trading_fills_total", "model", "version", "side") == Counter(
        (*whose(each.client_order_id), each.side.lower()) for each in fills
    )
    filled: Counter[tuple[str, ...]] = Counter()
    for each in fills:
        filled[each.side.lower(),] += Decimal(each.quantity)  # type: ignore[assignment]
    told = of(samples, "trading_filled_quantity_total", "side")
    assert told == {side: _close(float(quantity)) for side, quantity in filled.items()}
    bought = sum(Decimal(each.quantity) * (1 if each.side == "BUY" else -1) for each in fills)
    assert value(samples, "trading_position") == _close(float(bought))
    assert value(samples, "trading_halts_total") == len(log.read(HaltRecord, run_id=run_id))


def _close(number: float) -> object:
    return pytest.approx(number, rel=1e-9, abs=1e-9)
