"""The decision rules: which facts promote, which roll back, and which rules make no sense."""

import math
from dataclasses import fields, replace

import pytest

from nautilus_torchserve.experiments.ab.rules import BadRules, Evidence, Rules, decide
from nautilus_torchserve.experiments.ab.sequential_tests import Interval

UNKNOWN = Interval(math.nan, math.inf)
GOOD = Evidence(
    accuracy=Interval(0.05, 0.03),
    latency_ms=Interval(0.1, 0.5),
    error_rate=Interval(0.0, 0.001),
    baseline_error_rate=0.01,
    blocks=20,
    call_blocks=2,
    instruments=3,
)
"""Just enough for a promotion."""


@pytest.mark.parametrize(
    ("changed", "action", "because"),
    [
        ({}, "promote", "accuracy is up by +5.0 points (+2.0 to +8.0)"),
        ({"instruments": None}, "promote", "accuracy is up"),
        ({"accuracy": Interval(0.02, 0.019)}, "promote", "accuracy is up by +2.0 points"),
        ({"accuracy": Interval(0.019, 0.001)}, "continue", "at least 2 up"),
        ({"accuracy": Interval(0.05, 0.05)}, "continue", "may still be chance"),
        ({"accuracy": UNKNOWN}, "continue", "100 scored predictions"),
        ({"latency_ms": UNKNOWN}, "continue", "1000 requests of each version"),
        ({"latency_ms": Interval(1.99, 0.1)}, "promote", "latency differs by +1.99 ms"),
        ({"latency_ms": Interval(2.0, 0.1)}, "continue", "latency is up by 2.00 ms, less than 2"),
        ({"latency_ms": Interval(2.01, 2.5)}, "continue", "latency is up by 2.01 ms, less than 2"),
        ({"latency_ms": Interval(2.01, 2.0)}, "roll back", "latency is up by 2.01 ms (0.01 to 4.01), more than 2"),
        ({"latency_ms": Interval(9.0, 1.0), "call_blocks": 1}, "continue", "latency is up by 9.00 ms"),
        ({"error_rate": Interval(0.005, 0.004)}, "roll back", "1.50% of the challenger's requests failed, 1.00%"),
        ({"error_rate": Interval(0.0049, 0.004)}, "promote", "accuracy is up"),
        ({"error_rate": Interval(0.005, 0.005)}, "promote", "accuracy is up"),
        ({"error_rate": Interval(0.005, 0.004), "call_blocks": 1}, "promote", "accuracy is up"),
        ({"error_rate": Interval(0.001, 0.0005), "baseline_error_rate": 0.0}, "roll back", "0.10% of the challenger's"),
        ({"error_rate": Interval(-0.005, 0.004)}, "promote", "accuracy is up"),
        ({"accuracy": Interval(-0.05, 0.04)}, "roll back", "accuracy is down by -5.0 points"),
        ({"accuracy": Interval(-0.049, 0.04)}, "continue", "at least 2 up"),
        ({"accuracy": Interval(-0.05, 0.05)}, "continue", "at least 2 up"),
        ({"accuracy": Interval(-0.05, 0.04), "blocks": 1}, "continue", "1 of 20 blocks"),
        ({"accuracy": Interval(-0.05, 0.04), "blocks": 2}, "roll back", "accuracy is down"),
        ({"blocks": 19}, "continue", "19 of 20 blocks of time"),
        ({"instruments": 2}, "continue", "2 of 3 instruments with each version; with few instruments, split by time"),
        ({"latency_ms": Interval(3.0, 1.0), "error_rate": Interval(0.1, 0.01)}, "roll back", "more than 2; 11.00%"),
    ],
)
def test_the_rules(changed: dict[str, object], action: str, because: str) -> None:
    decision = decide(Rules(), replace(GOOD, **changed))  # type: ignore[arg-type]

    assert decision.action == action
    assert because in decision.reason


def test_a_decision_carries_its_numbers() -> None:
    numbers = decide(Rules(), replace(GOOD, latency_ms=UNKNOWN)).numbers

    assert (numbers["accuracy"], numbers["accuracy_lower"]) == pytest.approx((0.05, 0.02))
    assert numbers["latency_ms"] is numbers["latency_ms_lower"] is None
    assert numbers["blocks"] == 20


@pytest.mark.parametrize(
    ("given", "because"),
    [
        ("alpha=1.5", "alpha: expected a probability in (0, 1), got 1.5"),
        ("promote_accuracy=-0.01", "promote_accuracy: expected a number above 0, got -0.01"),
        ("promote_accuracy=nan", "promote_accuracy: expected a number above 0, got nan"),
        ("rollback_error_ratio=1", "rollback_error_ratio: expected more than 1, got 1.0"),
        ("least_predictions=1", "least_predictions: expected at least 2, got 1"),
        ("least_blocks=some", "least_blocks: expected int, got 'some'"),
        ("least_blocs=3", "one of alpha, promote_accuracy"),
    ],
)
def test_rules_that_make_no_sense_are_refused(given: str, because: str) -> None:
    with pytest.raises(BadRules) as refused:
        Rules.from_texts([given])

    assert because in str(refused.value)


def test_rules_are_given_as_texts() -> None:
    assert Rules.from_texts(["least_blocks=7", "block_s=60"]) == Rules(least_blocks=7, block_s=60.0)
    assert all(name.name in Rules.from_texts([]).to_json() for name in fields(Rules))


@pytest.mark.parametrize(
    "stored",
    [
        "{}",
        '{"rules": {"bogus": 1}}',
        "",
        "{",
        "null",
        "[]",
        '{"rules": []}',
        '{"rules": {"alpha": "x"}}',
        '{"rules": {"alpha": 2}}',
        '{"rules": {"tuned_for": 1.5}}',
        '{"rules": ' + "[" * 50_000,
        '{"rules": "' + "x" * 9000,
    ],
)
def test_settings_without_rules_are_no_experiments(stored: str) -> None:
    with pytest.raises(BadRules, match="expected the rules of an experiment") as refused:
        Rules.from_json(stored)

    assert len(str(refused.value)) < 450
