import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.intervals import UNITS_NS, BadInterval, format_interval, parse_interval


@given(st.integers(1, 999_999), st.sampled_from(sorted(UNITS_NS)))
def test_what_is_formatted_reads_back(step: int, unit: str) -> None:
    interval_ns = parse_interval(f"{step}-{unit}")

    assert interval_ns == step * UNITS_NS[unit]
    assert parse_interval(format_interval(interval_ns)) == interval_ns


def test_the_largest_unit_is_taken() -> None:
    assert format_interval(3_600_000_000_000) == "1-HOUR"
    assert format_interval(1_500_000_000) == "1500000000 ns"


@pytest.mark.parametrize(
    "text", ["", "MINUTE", "0-MINUTE", "-1-MINUTE", "1-FORTNIGHT", "1.5-HOUR", "٣-HOUR", "1 MINUTE"]
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(BadInterval, match="1-MINUTE, 4-HOUR or 1-DAY expected, was"):
        parse_interval(text)
