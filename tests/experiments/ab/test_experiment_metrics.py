"""Metrics of a version: scikit-learn's scores, numpy's means, nan where there are no records."""

import math
from collections import Counter

import numpy as np
import pytest
from experiment_records import HOUR_NS, START_NS, trades
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from nautilus_torchserve.experiments.ab.experiment import plan
from nautilus_torchserve.experiments.ab.metrics import VersionSums, classification
from nautilus_torchserve.traffic.records import CallWindow, latency_bucket

PLANNED = plan("tick", "1.0", "2.0", name="trial")
CLASSES = ("BUY", "SELL", "HOLD")


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1))
def test_classification_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    predicted, actual = zip(*pairs, strict=True)
    labels = sorted({*predicted, *actual})
    per_class = precision_recall_fscore_support(actual, predicted, labels=labels, zero_division=0)
    macro = precision_recall_fscore_support(actual, predicted, labels=labels, average="macro", zero_division=0)

    metrics = classification(Counter(pairs))

    assert metrics.accuracy == pytest.approx(accuracy_score(actual, predicted))
    assert (metrics.precision, metrics.recall, metrics.f1) == pytest.approx(macro[:3])
    for number, label in enumerate(labels):
        scores = metrics.classes[label]
        assert (scores.precision, scores.recall, scores.f1, scores.support) == pytest.approx(
            tuple(values[number] for values in per_class)
        )
    assert metrics.predictions == len(pairs)


@example([0.1] * 7)
@given(st.lists(st.floats(-50, 50).map(lambda value: round(value, 2)), min_size=2, max_size=60))
def test_trades_are_numpys(returns_bps: list[float]) -> None:
    tally = VersionSums("2.0", HOUR_NS, HOUR_NS)
    for trade in trades(PLANNED, "2.0", returns_bps):
        tally.add(trade)
    returns = np.array(returns_bps)

    metrics = tally.metrics()

    assert metrics.trades == len(returns)
    assert metrics.win_rate == pytest.approx((returns > 0).mean())
    assert metrics.total_pnl == pytest.approx(returns.sum(), abs=1e-9)
    if returns.std() > 1e-3:
        assert metrics.sharpe_per_trade == pytest.approx(returns.mean() / returns.std(ddof=1), abs=1e-6)
    if len(set(returns_bps)) == 1:
        assert math.isnan(metrics.sharpe_per_trade)


@given(st.lists(st.lists(st.floats(0.2, 50), max_size=20), min_size=1, max_size=5), st.integers(0, 3))
def test_latency_and_errors_are_those_of_all_windows(latencies_ms: list[list[float]], errors: int) -> None:
    tally = VersionSums("2.0", HOUR_NS, HOUR_NS)
    together = np.array([latency for some in latencies_ms for latency in some])
    for some in latencies_ms:
        tally.add(
            CallWindow(
                "trial",
                "tick",
                "2.0",
                "desk",
                START_NS,
                len(some) + errors,
                errors,
                sum(some),
                sum(latency**2 for latency in some),
                Counter(map(latency_bucket, some)),
            )
        )
    requests = len(together) + errors * len(latencies_ms)

    metrics = tally.metrics()

    assert metrics.requests == requests
    if requests:
        assert metrics.error_rate == pytest.approx(errors * len(latencies_ms) / requests)
    if len(together):
        p95_ms = np.quantile(together, 0.95, method="inverted_cdf")
        assert metrics.latency_ms == pytest.approx(together.mean())
        assert p95_ms <= metrics.latency_p95_ms * (1 + 1e-9) <= p95_ms * 1.0501


def test_a_version_without_records_has_no_figures() -> None:
    metrics = VersionSums("2.0", HOUR_NS, HOUR_NS).metrics()

    assert metrics.classification.predictions == metrics.trades == metrics.requests == 0
    assert all(
        math.isnan(value)
        for value in (
            metrics.classification.accuracy,
            metrics.classification.f1,
            metrics.win_rate,
            metrics.sharpe_per_trade,
            metrics.markout_bps,
            metrics.error_rate,
            metrics.latency_ms,
            metrics.latency_p95_ms,
        )
    )
