import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.market.read_options import UNITS_NS, BadInterval, parse_interval


@given(st.integers(1, 999_999), st.sampled_from(sorted(UNITS_NS)), st.booleans())
def test_a_step_of_a_unit_is_so_long(step: int, unit: str, small: bool) -> None:
    text = f"{step}-{unit}"

    assert parse_interval(text.lower() if small else text) == step * UNITS_NS[unit]


@pytest.mark.parametrize(
    "text", ["", "MINUTE", "0-MINUTE", "-1-MINUTE", "1-FORTNIGHT", "1.5-HOUR", "٣-HOUR", "1 MINUTE"]
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(BadInterval, match="1-MINUTE, 4-HOUR or 1-DAY, got"):
        parse_interval(text)
