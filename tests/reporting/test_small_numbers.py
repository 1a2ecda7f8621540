"""Numbers below their unit's decimals are shown with their digits: nothing that is not zero reads as zero."""

import pytest

from nautilus_torchserve.reporting.explanation.sentences import amount
from nautilus_torchserve.reporting.fragments import change, number


@pytest.mark.parametrize(
    ("value", "text", "signed"),
    [
        (0.0, "0.000%", "0.000%"),
        (0.0004, "0.0004%", "+0.0004%"),
        (0.0006, "0.001%", "+0.001%"),
        (-1.08e-05, "\N{MINUS SIGN}1.1e-05%", "\N{MINUS SIGN}1.1e-05%"),
        (1234.5, "1,234.500%", "+1,234.500%"),
    ],
)
def test_a_small_share_keeps_its_digits(value: float, text: str, signed: str) -> None:
    assert (number(value, 3, "%"), change(value, 3, "%")) == (text, signed)


def test_a_small_attribution_keeps_its_digits() -> None:
    assert amount(2.3e-05, "return_bps", sign=True) == "+2.3e-05 bps"
    assert amount(0.0, "return_bps") == "0.000 bps"
    assert amount(-0.25, "return_bps") == "\N{MINUS SIGN}0.250 bps"
