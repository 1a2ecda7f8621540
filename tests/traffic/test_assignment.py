"""Whom an instrument is with: what the split says, unless a position is open."""

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


def ask(assignment: Assignment, held: bool, default: str = "1.0") -> Route:
    """One request about one instrument, answered."""
    route, _ = assignment.route("BTC", 0, held)
    assignment.answered(route, route.version or default, ["BTC"])
    return route


def test_without_a_split_requests_go_to_the_default_route(assignment: Assignment) -> None:
    assert ask(assignment, held=False) == Route()


def test_with_a_split_each_goes_to_its_version_and_is_told_so(assignment: Assignment) -> None:
    assignment.follow(SPLIT, None)
    assert ask(assignment, held=False) == CHALLENGER

    assignment.follow(replace(SPLIT, share=0.0), None)
    assert ask(assignment, held=False) == BASELINE


def test_a_position_keeps_its_instrument_with_the_version_that_answered_last(assignment: Assignment) -> None:
    ask(assignment, held=False)
    assignment.follow(SPLIT, None)

    assert ask(assignment, held=True) == BASELINE
    assert ask(assignment, held=False) == CHALLENGER
    assignment.follow(replace(SPLIT, share=0.0), None)
    assert ask(assignment, held=True) == CHALLENGER


def test_a_position_keeps_its_version_when_the_default_moves_or_the_split_ends(assignment: Assignment) -> None:
    assignment.follow(SPLIT, None)
    ask(assignment, held=False)
    assignment.follow(None, None)

    assert ask(assignment, held=True) == Route("1.1")
    assert ask(assignment, held=False) == Route()
    ask(assignment, held=False, default="1.2")
    assert ask(assignment, held=True) == Route("1.2")


def test_a_withdrawn_version_is_left_at_once(assignment: Assignment) -> None:
    assignment.follow(SPLIT, None)
    ask(assignment, held=False)

    assignment.follow(None, withdrawn="1.1")

    assert ask(assignment, held=True) == Route()
    assert assignment.in_use() == ["1.0"]
    assignment.follow(replace(SPLIT, name="canary-2"), None)  # on trial once more
    assert ask(assignment, held=False).version == "1.1"
    assignment.follow(replace(SPLIT, name="canary-2", share=0.0), None)
    assert ask(assignment, held=True).version == "1.1"


def test_a_version_that_is_gone_keeps_nobody(assignment: Assignment) -> None:
    assignment.follow(SPLIT, None)
    ask(assignment, held=False)
    assignment.follow(None, None)

    assignment.forget("1.1")

    assert ask(assignment, held=True) == Route()


def test_an_unfit_challenger_gets_nothing_and_what_it_missed_is_told(assignment: Assignment) -> None:
    assert assignment.mark_unusable("1.1", SchemaMismatch("other features"))
    assert not assignment.mark_unusable("1.1", SchemaMismatch("other features"))
    assignment.follow(SPLIT, None)

    assert assignment.route("BTC", 0, False) == (BASELINE, CHALLENGER)
    assert assignment.in_use() == ["1.0"]
    assert assignment.mark_unusable("1.1", None)
    assert assignment.route("BTC", 0, False) == (CHALLENGER, None)
    assert assignment.in_use() == ["1.0", "1.1"]


def test_versions_are_in_use_while_an_instrument_may_want_to_stay_with_them(assignment: Assignment) -> None:
    assignment.follow(SPLIT, None)
    ask(assignment, held=False)
    assignment.follow(None, None)

    assert assignment.in_use() == ["1.0", "1.1"]  # the answer may have opened a position
    ask(assignment, held=False)
    assert assignment.in_use() == ["1.0"]


STEPS = st.tuples(st.sampled_from(["A", "B", "C"]), st.booleans(), st.sampled_from([0.0, 0.3, 0.6, 1.0, None]))


def test_an_instrument_is_leaving_while_only_its_position_keeps_it(assignment: Assignment) -> None:
    assert not assignment.leaving("BTC", 0)
    ask(assignment, held=False)
    assert not assignment.leaving("BTC", 0)
    assignment.follow(SPLIT, None)

    ask(assignment, held=True)
    assert assignment.leaving("BTC", 0)
    ask(assignment, held=False)
    assert not assignment.leaving("BTC", 0)
    assignment.follow(None, None)
    assert assignment.leaving("BTC", 0)
    assignment.on_default_version("1.1")
    assert not assignment.leaving("BTC", 0)


@given(st.lists(STEPS))
def test_nobody_changes_version_with_a_position_open(steps: list[tuple[str, bool, float | None]]) -> None:
    assignment, last = Assignment("1.0"), dict[str, str]()
    for instrument_id, held, share in steps:
        assignment.follow(None if share is None else replace(SPLIT, share=share), None)

        route, _ = assignment.route(instrument_id, 0, held)

        version = route.version or "1.0"
        if held and instrument_id in last:
            assert version == last[instrument_id]
        elif share is not None:
            assert version == replace(SPLIT, share=share).version_for(instrument_id, 0)
        assignment.answered(route, version, [instrument_id])
        last[instrument_id] = version


def test_an_assignment_taken_over_keeps_who_is_held(assignment: Assignment) -> None:
    assignment.answered(Route(), "1.0", ["BTC"])
    elsewhere = Assignment("1.1")

    elsewhere.inherit(assignment)

    assert elsewhere.route("BTC", 0, held=True) == (Route("1.0"), None)
    assert elsewhere.route("ETH", 0, held=True) == (Route(), None)
    assert elsewhere.leaving("BTC", 0)
    assert not elsewhere.leaving("ETH", 0)
