"""What is said of a version: scikit-learn's scores, numpy's means, nothing where there are no records."""

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
    each = precision_recall_fscore_support(actual, predicted, labels=labels, zero_division=0)
    macro = precision_recall_fscore_support(actual, predicted, labels=labels, average="macro", zero_division=0)

    found = classification(Counter(pairs))

    assert found.accuracy == pytest.approx(accuracy_score(actual, predicted))
    assert (found.precision, found.recall, found.f1) == pytest.approx(macro[:3])
    for number, label in enumerate(labels):
        scores = found.classes[label]
        assert (scores.precision, scores.recall, scores.f1, scores.support) == pytest.approx(
            tuple(values[number] for values in each)
        )
    assert found.predictions == len(pairs)


@example([0.1] * 7)
@given(st.lists(st.floats(-50, 50).map(lambda value: round(value, 2)), min_size=2, max_size=60))
def test_trades_are_numpys(returns_bps: list[float]) -> None:
    tally = VersionSums("2.0", HOUR_NS, HOUR_NS)
    for trade in trades(PLANNED, "2.0", returns_bps):
        tally.add(trade)
    returns = np.array(returns_bps)

    found = tally.metrics()

    assert found.trades == len(returns)
    assert found.win_rate == pytest.approx((returns > 0).mean())
    assert found.total_pnl == pytest.approx(returns.sum(), abs=1e-9)
    if returns.std() > 1e-3:
        assert found.sharpe_per_trade == pytest.approx(returns.mean() / returns.std(ddof=1), abs=1e-6)
    if len(set(returns_bps)) == 1:
        assert math.isnan(found.sharpe_per_trade)


@given(st.lists(st.lists(st.floats(0.2, 50), max_size=20), min_size=1, max_size=5), st.integers(0, 3))
def test_latency_and_errors_are_those_of_all_windows(latencies_ms: list[list[float]], errors: int) -> None:
    tally, together = VersionSums("2.0", HOUR_NS, HOUR_NS), np.array([each for some in latencies_ms for each in some])
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
                sum(each**2 for each in some),
                Counter(map(latency_bucket, some)),
            )
        )
    requests = len(together) + errors * len(latencies_ms)

    found = tally.metrics()

    assert found.requests == requests
    if requests:
        assert found.error_rate == pytest.approx(errors * len(latencies_ms) / requests)
    if len(together):
        p95_ms = np.quantile(together, 0.95, method="inverted_cdf")
        assert found.latency_ms == pytest.approx(together.mean())
        assert p95_ms <= found.latency_p95_ms * (1 + 1e-9) <= p95_ms * 1.0501


def test_a_version_without_records_has_no_figures() -> None:
    found = VersionSums("2.0", HOUR_NS, HOUR_NS).metrics()

    assert found.classification.predictions == found.trades == found.requests == 0
    assert all(
        math.isnan(value)
        for value in (
            found.classification.accuracy,
            found.classification.f1,
            found.win_rate,
            found.sharpe_per_trade,
            found.markout_bps,
            found.error_rate,
            found.latency_ms,
            found.latency_p95_ms,
        )
    )
