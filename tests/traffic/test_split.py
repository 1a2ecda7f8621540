"""Who is given to a challenger: evenly, always the same ones, and never back while the share grows."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.traffic.split import Kind, Split, Unit, fraction

SPLIT = Split("canary-1", "tick", Kind.CANARY, "1.0", "1.1", 0.3)
SHARES = st.floats(0, 1)
NAMES = st.text(min_size=1, max_size=20)


@given(NAMES, NAMES, st.lists(SHARES, min_size=2, max_size=6).map(sorted))
def test_a_growing_share_returns_no_instrument_to_the_baseline(
    name: str, instrument_id: str, shares: list[float]
) -> None:
    versions = [replace(SPLIT, name=name, share=share).version_for(instrument_id, 0) for share in shares]

    assert versions == sorted(versions)  # 1.0 for a while, then 1.1


@given(NAMES, SHARES, st.integers(0, 2**62), st.integers(0, 2**62))
def test_an_instrument_keeps_its_version_whatever_the_time(
    instrument_id: str, share: float, one: int, other: int
) -> None:
    split = replace(SPLIT, share=share)

    assert split.version_for(instrument_id, one) == split.version_for(instrument_id, other)


@given(NAMES, NAMES, st.integers(0, 10**6), st.integers(0, 999), st.integers(0, 999))
def test_a_time_slice_is_one_versions_whatever_the_instrument(
    one: str, other: str, number: int, begin: int, end: int
) -> None:
    split = replace(SPLIT, share=0.5, unit=Unit.TIME, slice_ns=1000)

    assert split.version_for(one, number * 1000 + begin) == split.version_for(other, number * 1000 + end)


@pytest.mark.parametrize("unit", Unit)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_the_challenger_gets_its_share_of_many_units(unit: Unit, share: float) -> None:
    split = replace(SPLIT, unit=unit, share=share, slice_ns=10)
    count = 20_000

    given_to = sum(split.version_for(f"I{number}", number * 10) == "1.1" for number in range(count))

    assert abs(given_to - share * count) < 5 * (count * share * (1 - share)) ** 0.5  # five standard deviations


@given(NAMES, st.integers(0, 2**62), st.sampled_from(list(Unit)))
def test_a_share_of_0_is_no_instrument_and_of_1_every_instrument(instrument_id: str, ts_ns: int, unit: Unit) -> None:
    none, all_instruments = replace(SPLIT, unit=unit, share=0.0), replace(SPLIT, unit=unit, share=1.0)

    assert none.version_for(instrument_id, ts_ns) == "1.0"
    assert all_instruments.version_for(instrument_id, ts_ns) == "1.1"


def test_a_shadows_challenger_answers_no_request() -> None:
    shadow = replace(SPLIT, kind=Kind.SHADOW, share=1.0)

    assert {shadow.version_for(f"I{number}", number) for number in range(100)} == {"1.0"}


def test_another_split_begins_with_other_instruments() -> None:
    first, second = (
        {number for number in range(2_000) if fraction(name, f"I{number}") < 0.1} for name in ("canary-1", "canary-2")
    )

    assert abs(len(first & second) - 20) < 25  # a tenth of a tenth, not the same ones
