from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.market.decimals import parse_decimals, parse_integers

numbers = st.decimals(min_value=-(10**9), max_value=10**9, places=8, allow_nan=False)


def refuse(row: int, expected: str, remedy: str = "") -> ValueError:
    return ValueError(f"row {row}: {expected}{remedy}")


def parse(*texts: str) -> tuple[list[int], int]:
    values, precision = parse_decimals(np.array(texts, dtype=object), refuse)
    return values.tolist(), precision


@given(st.lists(st.tuples(numbers, st.booleans()), min_size=1))
def test_values_are_exact(drawn: list[tuple[Decimal, bool]]) -> None:
    texts = [f"{number:f}" if plain else f"{number:e}" for number, plain in drawn]

    values, precision = parse(*texts)

    assert [Decimal(value).scaleb(-precision) for value in values] == [number for number, _ in drawn]
    assert precision == max(max(-int(number.normalize().as_tuple().exponent), 0) for number, _ in drawn)


@pytest.mark.parametrize(
    ("texts", "values", "precision"),
    [
        (["9682", "9681.92", "9681.9"], [968200, 968192, 968190], 2),
        (["42283.58000000", "42283.50000000"], [4228358, 4228350], 2),
        (["10.00", "20.0"], [10, 20], 0),
        (["1e-07", "2.5E-6", "1"], [1, 25, 10_000_000], 7),
        (["0.1", ".2", "3."], [1, 2, 30], 1),
        (["-1.5", "007"], [-15, 70], 1),
        (["999999999999999999"], [999999999999999999], 0),
    ],
)
def test_padding_does_not_count_and_exponents_do(texts: list[str], values: list[int], precision: int) -> None:
    assert parse(*texts) == (values, precision)


@pytest.mark.parametrize(
    "text", ["", "abc", "-", ".", "1.2.3", "1-2", "1,5", "nan", "inf", "true", "e", "1e", "0x1f", "1 ", "\u0661", "+1"]
)
def test_text_that_is_no_number_is_refused_with_its_row(text: str) -> None:
    with pytest.raises(ValueError, match="row 2: a number"):
        parse("1", "2.5", text, "also not")


@pytest.mark.parametrize("texts", [["1234567890123456789"], ["12345678901", "0.00000001"], ["1e400"], ["1e-999999999"]])
def test_numbers_with_too_many_digits_are_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="row 0: a number of at most 18 digits"):
        parse(*texts)


def test_a_fraction_is_no_whole_number() -> None:
    with pytest.raises(ValueError, match="row 1: a whole number"):
        parse_integers(np.array(["1.0", "1.5"], dtype=object), refuse)
