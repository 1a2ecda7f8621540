"""Report of a shadow: differences of both versions' outputs for the same inputs."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from challengers import target_of
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.experiments.shadow.shadow import (
    Latency,
    ShadowComparison,
    ShadowReport,
    ShadowSettings,
    latency_of,
    shadow,
)
from nautilus_torchserve.release.rollout.journal import RolloutRefused
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.traffic.records import CallCounts, CallTotals, ShadowAnswer
from nautilus_torchserve.traffic.store import TrafficStore

TICK = ("buy", "sell", "hold")


def answer(outputs: Mapping[str, float], baseline: Mapping[str, float], error: str = "") -> ShadowAnswer:
    return ShadowAnswer("split", "tick", "2.0", "I.SIM", 0, outputs, baseline, 1.0, error)


def compared(*answers: ShadowAnswer) -> ShadowComparison:
    comparison = ShadowComparison()
    comparison.add(answers)
    return comparison


def report(**changes: object) -> ShadowReport:
    values = {
        "split": "s",
        "model": "tick",
        "baseline": "1.0",
        "challenger": "2.0",
        "ended": "time",
        "answers": 3,
        "errors": 1,
        "not_copied": 0,
        "commonest_error": "Unavailable: 503",
        "agreement": 2 / 3,
        "outputs": {},
        "only_one_has": (),
        "baseline_latency": Latency(4, 1.0, 2.0, 3.0),
        "challenger_latency": None,
        "began": "2026-01-02T03:04:05Z",
        "took_s": 60.0,
    }
    return ShadowReport(**{**values, **changes})  # type: ignore[arg-type]


probabilities = st.fixed_dictionaries({name: st.floats(0, 1) for name in TICK})


@given(st.lists(st.tuples(probabilities, probabilities), min_size=1, max_size=30), st.integers(1, 29))
def test_differences_are_numpys_and_answers_come_in_any_portions(pairs: list[tuple[dict, dict]], portion: int) -> None:
    answers = [answer(outputs, baseline_outputs) for outputs, baseline_outputs in pairs]
    comparison = ShadowComparison()
    comparison.add(answers[:portion])
    comparison.add(answers[portion:])

    challenger, baseline = (np.array([[pair[side][name] for name in TICK] for pair in pairs]) for side in (0, 1))
    differences = np.abs(challenger - baseline)
    assert comparison.agreement() == np.mean(challenger.argmax(axis=1) == baseline.argmax(axis=1))
    for column, name in enumerate(TICK):
        difference = comparison.differences()[name]
        assert difference.mean == pytest.approx(differences[:, column].mean())
        assert difference.p95 == pytest.approx(np.percentile(differences[:, column], 95))


def test_the_same_answers_agree_and_have_not_drifted() -> None:
    outputs = [{"buy": share, "sell": 0.5 - share, "hold": 0.5} for share in np.linspace(0, 0.5, 50)]

    comparison = compared(*(answer(output, output) for output in outputs))

    assert comparison.agreement() == 1.0
    assert all(
        (difference.mean, difference.p95, difference.psi) == (0, 0, 0)
        for difference in comparison.differences().values()
    )


def test_reversed_answers_do_not_drift_but_disagree() -> None:
    """What a split by instrument cannot see: the same distribution, and another answer to each input."""
    shares = np.linspace(0.05, 0.45, 50)
    outputs = [{"buy": share, "sell": 0.5 - share, "hold": 0.0} for share in shares]

    comparison = compared(*(answer(one, other) for one, other in zip(outputs, reversed(outputs), strict=True)))

    assert comparison.differences()["buy"].psi == 0
    assert comparison.differences()["buy"].mean > 0.2
    assert comparison.agreement() == 0


def test_answers_that_are_always_the_same_have_drifted() -> None:
    comparison = compared(*(answer({"buy": 0.9}, {"buy": share}) for share in np.linspace(0, 0.5, 50)))

    assert comparison.differences()["buy"].psi > 1


def test_price_models_agree_where_the_sign_is_the_same() -> None:
    returns = [(1.0, 2.0), (-1.0, -0.1), (0.0, 0.0), (1.0, -1.0)]

    comparison = compared(*(answer({"return_bps": one}, {"return_bps": other}) for one, other in returns))

    assert comparison.agreement() == 0.75


def test_outputs_without_class_or_direction_have_no_agreement() -> None:
    assert compared(answer({"x": 1.0}, {"x": 1.0})).agreement() is None


def test_failed_copies_are_counted_and_not_compared() -> None:
    comparison = compared(
        answer({}, {"buy": 0.5}, "Unavailable: full"),
        answer({}, {"buy": 0.5}, "Unavailable: full"),
        answer({"buy": 0.5}, {"buy": 0.5}),
    )

    assert (comparison.answers, comparison.errors) == (1, {"Unavailable: full": 2})
    assert comparison.only_one_has == set()


def test_outputs_that_only_one_has_are_named() -> None:
    comparison = compared(answer({"buy": 0.5, "sell": 0.5}, {"buy": 0.5, "hold": 0.5}))

    assert comparison.only_one_has == {"sell", "hold"}
    assert list(comparison.differences()) == ["buy"]
    assert "sell" in report(only_one_has=("sell",)).as_text()


def test_latencies_are_those_of_the_calls() -> None:
    counts, calls = CallCounts("tick", "host"), CallTotals()
    for latency_ms in range(1, 101):
        counts.record_response("split", "1.0", latency_ms * 1_000_000, {})
    counts.record_failure("split", "1.0")
    for window in counts.take():
        calls.add(window)

    latency = latency_of(calls)

    assert latency is not None
    assert (latency.requests, latency.mean_ms) == (100, 50.5)
    assert 95 <= latency.p95_ms <= 95 * 1.05
    assert 99 <= latency.p99_ms <= 99 * 1.05
    assert latency_of(CallTotals(requests=3, errors=3)) is None


def test_report_is_kept_as_json_and_as_text(tmp_path: Path) -> None:
    path = report().write(tmp_path)

    kept = json.loads(path.read_text())
    assert (kept["action"], kept["ok"], kept["answers"], kept["challenger_latency"]) == ("shadow", True, 3, None)
    text = path.with_suffix(".txt").read_text()
    assert "agreement   66.7%" in text
    assert "Unavailable: 503" in text


@pytest.mark.parametrize("changes", [{"ended": "interrupted"}, {"answers": 0}])
def test_shadow_without_answers_or_end_is_not_ok(changes: dict[str, object]) -> None:
    assert report().ok
    assert not report(**changes).ok


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrafficStore]:
    with TrafficStore(f"sqlite:///{tmp_path}/traffic.db") as opened:
        yield opened


@pytest.mark.parametrize(
    ("version", "message"), [("1.0", "another version than the default one"), ("9.9", "READY workers, got none")]
)
def test_shadow_of_nothing_is_refused(tick_server: TorchServe, store: TrafficStore, version: str, message: str) -> None:
    with pytest.raises(RolloutRefused, match=message):
        shadow(target_of(tick_server), store, "tick", version)

    assert store.splits() == []


@pytest.mark.parametrize("wrong", [{"for_s": 0.0}, {"share": 1.5}, {"share": 0.0}, {"answers": 0}, {"look_s": 0.0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="expected "):
        ShadowSettings(**wrong)
