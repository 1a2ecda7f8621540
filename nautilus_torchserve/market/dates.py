"""Dates as people write them, rewritten to ISO 8601; what could be another date is refused."""

from collections.abc import Callable

import numpy as np
import pandas as pd

DATE_ORDER_REMEDY = "say which with --date-order day-first or --date-order month-first"
ISO_DATE = r"\d{4}-\d{2}-\d{2}"
"""Start of a time that is ISO 8601 already."""
YEAR_FIRST = r"(?P<year>\d{4})[./-](?P<month>\d{1,2})[./-](?P<day>\d{1,2})(?P<rest>.*)"
YEAR_LAST = r"(?P<first>\d{1,2})[./-](?P<second>\d{1,2})[./-](?P<year>\d{4})(?P<rest>.*)"
DIGITS = r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?P<rest>.*)"
TWELVE_HOURS = r"(?P<before>.*[ T])(?P<hour>\d{1,2})(?P<after>:\d{2}.*?) ?(?P<half>[AaPp])\.?[Mm]\.?"
"""A time of day of twelve hours: ``9:30 AM``."""
IN_UTC = r"(?<=\d) ?(?:UTC|GMT)$"
"""End of a time in UTC."""
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAY_OF_MONTH = r"(?P<day>\d{1,2})[- ](?P<month>[A-Za-z]{3,9})[- ,]+(?P<year>\d{4})(?P<rest>.*)"
MONTH_OF_YEAR = r"(?P<month>[A-Za-z]{3,9}) (?P<day>\d{1,2}),? +(?P<year>\d{4})(?P<rest>.*)"
ONE_DIGIT_HOUR = r"[ T]+(\d:)"
CLOCK_DIGITS = r"[ T]*(?P<hour>\d(?=:)|\d{2}):?(?P<minute>\d{2}):?(?P<second>\d{2})?\.?(?P<fraction>\d+)?(?P<offset>.*)"


def to_iso(texts: pd.Series, order: str | None, refuse: Callable[[int, str, str], Exception]) -> pd.Series:
    """Rewrite dates such as ``31.01.2024 09:30``, ``2024/1/31 9:30 AM`` or ``31-Jan-2024`` to ISO 8601.

    Whether the day or the month of a date that ends with the year comes first follows from a number above 12 in the
    column; all its dates are in that order.

    Parameters
    ----------
    texts : Series of str [n]
        What has none of these forms stays as it is.
    order : str, optional
        One of `market.read_options.DATE_ORDERS`; None derives it.
    refuse : callable
        Given row, expectation and remedy, makes the error for a date that could be two, or contradicts others.
    """
    if texts.str[10:11].eq("D").any():  # BitMEX has it where ISO 8601 has a T
        texts = texts.str.replace(rf"^({ISO_DATE})D(?=\d)", r"\1T", regex=True)
    if texts.str.contains("[A-Za-z]{2}", regex=True).any():
        texts = _without_words(texts)
    irregular = ~texts.str.match(ISO_DATE).to_numpy(dtype=bool)
    if not irregular.any():
        return texts
    rows, others = np.flatnonzero(irregular), texts[irregular]
    year_last = others.str.extract(YEAR_LAST)
    if year_last["year"].notna().any():
        iso = _day_and_month(year_last, order, lambda row, *why: refuse(int(rows[row]), *why))
    elif others.str.match(DIGITS).any():
        iso = _compact(others)
    else:
        parts = others.str.extract(YEAR_FIRST)
        iso = _date(parts["year"], parts["month"], parts["day"]) + parts["rest"]
    rewritten = texts.copy()
    rewritten[irregular] = iso.str.replace(ONE_DIGIT_HOUR, r" 0\1", n=1, regex=True).fillna(others)
    return rewritten


def _day_and_month(parts: pd.DataFrame, order: str | None, refuse: Callable[[int, str, str], Exception]) -> pd.Series:
    first, second = (pd.to_numeric(parts[name]).fillna(0).to_numpy(dtype=np.int64) for name in ("first", "second"))
    is_day_first, is_month_first = (first > 12).any(), (second > 12).any()
    if order is None and is_day_first == is_month_first:
        row = int(np.maximum(first > 12, second > 12).argmax()) if is_day_first else int((first > 0).argmax())
        clash = "dates in one order" if is_day_first else "a date whose day and month cannot be taken for each other"
        raise refuse(row, clash, DATE_ORDER_REMEDY)
    day_first = is_day_first if order is None else order == "day-first"
    day, month = ("first", "second") if day_first else ("second", "first")
    return _date(parts["year"], parts[month], parts[day]) + parts["rest"]


def _without_words(texts: pd.Series) -> pd.Series:
    """Rewrite names of months, hours before and after noon, and UTC."""
    texts = texts.str.replace(IN_UTC, "Z", regex=True)
    for pattern in (DAY_OF_MONTH, MONTH_OF_YEAR):
        named = texts.str.extract(f"^{pattern}$")
        number = named["month"].str.lower().str[:3].map({name: f"{at:02d}" for at, name in enumerate(MONTHS, 1)})
        texts = (_date(named["year"], number, named["day"]) + named["rest"]).fillna(texts)
    parts = texts.str.extract(f"^{TWELVE_HOURS}$")
    hour = pd.to_numeric(parts["hour"])
    of_day = (hour % 12 + 12 * parts["half"].str.lower().eq("p")).where(hour.between(1, 12))
    text = of_day.map("{:02.0f}".format, na_action="ignore")
    return (parts["before"] + text + parts["after"]).fillna(texts)


def _compact(texts: pd.Series) -> pd.Series:
    """Rewrite ``20240131``, ``20240131 093000`` and ``20240131 093000123``."""
    parts = texts.str.extract(DIGITS)
    iso = _date(parts["year"], parts["month"], parts["day"])
    clock = parts["rest"].str.extract(CLOCK_DIGITS)
    fraction = ("." + clock["fraction"]).fillna("")
    time = (
        " "
        + clock["hour"].str.zfill(2)
        + ":"
        + clock["minute"]
        + ":"
        + clock["second"].fillna("00")
        + fraction
        + clock["offset"]
    )
    has_clock = clock["hour"].notna()
    return (iso + time.fillna("")).where(has_clock, iso + parts["rest"])


def _date(year: pd.Series, month: pd.Series, day: pd.Series) -> pd.Series:
    return year + "-" + month.str.zfill(2) + "-" + day.str.zfill(2)
