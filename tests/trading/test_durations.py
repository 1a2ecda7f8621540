"""Durations in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        *[("1ns", 1), ("500us", 500_000), ("1ms", 10**6), ("1.5ms", 1_500_000), ("2s", 2 * 10**9)],
        *[("1m", 6 * 10**10), ("4h", 144 * 10**11), ("1d", 864 * 10**11)],
    ],
)
def test_reads_a_number_with_its_unit(text: str, expected_ns: int) -> None:
    assert parse_duration(text) == expected_ns


@pytest.mark.parametrize("text", ["", "1", "ms", "-1ms", "1 h", "1e3ms", "nan ms"])
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="such as 500us"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0ms", "0.4ns"])
def test_no_time_at_all_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="expected a duration above 0, got '0"):
        parse_duration(text)


@given(st.integers(min_value=1, max_value=10**12 - 1))
def test_a_formatted_duration_parses_back(duration_ns: int) -> None:
    assert parse_duration(format_duration(duration_ns)) == duration_ns
