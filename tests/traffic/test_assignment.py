"""An instrument gets the version that the split assigns, unless a position is open."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.traffic.assignment import Assignment, Route
from nautilus_torchserve.traffic.split import Kind, Split
from nautilus_torchserve.wire.errors import SchemaMismatch

SPLIT = Split("canary-1", "tick", Kind.CANARY, "1.0", "1.1", 1.0)
BASELINE, CHALLENGER = Route("1.0", "canary-1", False), Route("1.1", "canary-1", True)


@pytest.fixture
def assignment() -> Assignment:
    return Assignment("1.0")


def predict(assignment: Assignment, has_exposure: bool, default: str = "1.0") -> Route:
    """Answer one request about one instrument."""
    route, _ = assignment.route("BTC", 0, has_exposure)
    assignment.record_response(route, route.version or default, ["BTC"])
    return route


def test_without_a_split_requests_go_to_the_default_route(assignment: Assignment) -> None:
    assert predict(assignment, has_exposure=False) == Route()


def test_with_a_split_each_request_goes_to_its_version_and_carries_the_split(assignment: Assignment) -> None:
    assignment.follow(SPLIT, None)
    assert predict(assignment, has_exposure=False) == CHALLENGER

    assignment.follow(replace(SPLIT, share=0.0), None)
    assert predict(assignment, has_exposure=False) == BASELINE


def test_a_position_keeps_its_instrument_with_the_version_that_answered_last(assignment: Assignment) -> None:
    predict(assignment, has_exposure=False)
    assignment.follow(SPLIT, None)

    assert predict(assignment, has_exposure=True) == BASELINE
    assert predict(assignment, has_exposure=False) == CHALLENGER
    assignment.follow(replace(SPLIT, share=0.0), None)
    assert predict(assignment, has_exposure=True) == CHALLENGER


def test_a_position_keeps_its_version_when_the_default_moves_or_the_split_ends(assignment: Assignment) -> None:
    assignment.follow(SPLIT, None)
    predict(assignment, has_exposure=False)
    assignment.follow(None, None)

    assert predict(assignment, has_exposure=True) == Route("1.1")
    assert predict(assignment, has_exposure=False) == Route()
    predict(assignment, has_exposure=False, default="1.2")
    assert predict(assignment, has_exposure=True) == Route("1.2")


def test_a_withdrawn_version_is_left_at_once(assignment: Assignment) -> None:
    assignment.follow(SPLIT, None)
    predict(assignment, has_exposure=False)

    assignment.follow(None, withdrawn="1.1")

    assert predict(assignment, has_exposure=True) == Route()
    assert assignment.versions_in_use() == ["1.0"]
    assignment.follow(replace(SPLIT, name="canary-2"), None)  # on trial once more
    assert predict(assignment, has_exposure=False).version == "1.1"
    assignment.follow(replace(SPLIT, name="canary-2", share=0.0), None)
    assert predict(assignment, has_exposure=True).version == "1.1"


def test_a_version_that_is_gone_keeps_no_instrument(assignment: Assignment) -> None:
    assignment.follow(SPLIT, None)
    predict(assignment, has_exposure=False)
    assignment.follow(None, None)

    assignment.forget("1.1")

    assert predict(assignment, has_exposure=True) == Route()


def test_an_unusable_challenger_gets_nothing_and_its_missed_requests_are_returned(assignment: Assignment) -> None:
    assert assignment.mark_unusable("1.1", SchemaMismatch("other features"))
    assert not assignment.mark_unusable("1.1", SchemaMismatch("other features"))
    assignment.follow(SPLIT, None)

    assert assignment.route("BTC", 0, False) == (BASELINE, CHALLENGER)
    assert assignment.versions_in_use() == ["1.0"]
    assert assignment.mark_unusable("1.1", None)
    assert assignment.route("BTC", 0, False) == (CHALLENGER, None)
    assert assignment.versions_in_use() == ["1.0", "1.1"]


def test_versions_are_in_use_while_an_instrument_may_want_to_stay_with_them(assignment: Assignment) -> None:
    assignment.follow(SPLIT, None)
    predict(assignment, has_exposure=False)
    assignment.follow(None, None)

    assert assignment.versions_in_use() == ["1.0", "1.1"]  # the answer may have opened a position
    predict(assignment, has_exposure=False)
    assert assignment.versions_in_use() == ["1.0"]


STEPS = st.tuples(st.sampled_from(["A", "B", "C"]), st.booleans(), st.sampled_from([0.0, 0.3, 0.6, 1.0, None]))


def test_an_instrument_has_a_pending_version_change_while_only_its_position_keeps_it(assignment: Assignment) -> None:
    assert not assignment.pending_version_change("BTC", 0)
    predict(assignment, has_exposure=False)
    assert not assignment.pending_version_change("BTC", 0)
    assignment.follow(SPLIT, None)

    predict(assignment, has_exposure=True)
    assert assignment.pending_version_change("BTC", 0)
    predict(assignment, has_exposure=False)
    assert not assignment.pending_version_change("BTC", 0)
    assignment.follow(None, None)
    assert assignment.pending_version_change("BTC", 0)
    assignment.on_default_version("1.1")
    assert not assignment.pending_version_change("BTC", 0)


@given(st.lists(STEPS))
def test_no_instrument_changes_version_with_a_position_open(steps: list[tuple[str, bool, float | None]]) -> None:
    assignment, last = Assignment("1.0"), dict[str, str]()
    for instrument_id, has_exposure, share in steps:
        assignment.follow(None if share is None else replace(SPLIT, share=share), None)

        route, _ = assignment.route(instrument_id, 0, has_exposure)

        version = route.version or "1.0"
        if has_exposure and instrument_id in last:
            assert version == last[instrument_id]
        elif share is not None:
            assert version == replace(SPLIT, share=share).version_for(instrument_id, 0)
        assignment.record_response(route, version, [instrument_id])
        last[instrument_id] = version


def test_an_assignment_taken_over_keeps_instruments_with_exposure(assignment: Assignment) -> None:
    assignment.record_response(Route(), "1.0", ["BTC"])
    elsewhere = Assignment("1.1")

    elsewhere.inherit(assignment)

    assert elsewhere.route("BTC", 0, has_exposure=True) == (Route("1.0"), None)
    assert elsewhere.route("ETH", 0, has_exposure=True) == (Route(), None)
    assert elsewhere.pending_version_change("BTC", 0)
    assert not elsewhere.pending_version_change("ETH", 0)
