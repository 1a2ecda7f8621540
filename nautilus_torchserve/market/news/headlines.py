"""Headlines about instruments: checked once, from files of any form in `market.news.table`."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nautilus_torchserve.market.csv_table import Times
from nautilus_torchserve.market.news.table import HeadlineTable, read_headline_tables
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.user_error import InvalidArgument

INSTRUMENT = re.compile(r"[!-~]+\.[!-~]+")
"""Pattern of an instrument's name: ``BTCUSDT.BINANCE``, in printable ASCII as NautilusTrader wants it."""
BRACKETS = re.compile(r"[][(){}'\"]")
"""Characters of a list printed by a program."""
LIST = re.compile(r"\s*(?:\[.*]|\(.*\)|\{.*})\s*", re.DOTALL)
"""Pattern of such a list: ``['AAPL', 'TSLA']``, ``{AAPL,TSLA}``."""
QUOTED = re.compile(r"(['\"])(.*)\1")
"""Pattern of one of its items."""
EXCHANGE_FIRST = re.compile(r"([A-Z]{2,10}):([^:]+)")
"""Pattern of a symbol after its exchange: ``NASDAQ:AAPL``."""
SEPARATORS = re.compile(r"[;|,\s]+")
"""Separators of several instruments in one cell."""


@dataclass(frozen=True)
class Headline:
    """One headline, not to be used before ``ts_init``.

    Raises
    ------
    BadData
        No text, no instrument or one that is not like ``BTCUSDT.BINANCE``, times that cannot be.
    """

    text: str
    """The text."""
    source: str
    """Publisher; empty if unknown."""
    instrument_ids: tuple[str, ...]
    """Instruments it is about: ``BTCUSDT.BINANCE``."""
    ts_event: int
    """When it was published, Unix ns."""
    ts_init: int
    """When it was received, Unix ns; never before ``ts_event``."""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise BadData(f"expected a headline's text, got {self.text!r}")
        for name, value in (("text", self.text), ("source", self.source)):
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise BadData(f"expected a headline's {name} in Unicode characters, got half of one in {value!r}")
        if not self.instrument_ids:
            raise BadData("expected a headline on at least one instrument, got none")
        for name in self.instrument_ids:
            if not INSTRUMENT.fullmatch(name) or BRACKETS.search(name) or SEPARATORS.search(name):
                raise BadData(f"expected an instrument like BTCUSDT.BINANCE, got {name!r}")
        if self.ts_event < 0:
            raise BadData(f"expected a headline published in 1970 or later, got {self.ts_event} ns before")
        if self.ts_init < self.ts_event:
            raise BadData(
                f"expected a headline received (ts_init) not before it was published (ts_event, {self.ts_event}), "
                f"got {self.ts_init}; a day without a time counts as its end"
            )


class Headlines(list[Headline]):
    """Headlines of a file, with notes on what was assumed in reading them."""

    notes: tuple[str, ...] = ()
    """A sentence each."""


def load_headlines(
    path: Path,
    instrument_id: str | None = None,
    delay_ns: int | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008, it is frozen
) -> Headlines:
    """Read files of headlines: CSV, JSON, Parquet or Feather, plain or compressed (`market.news.table`).

    Columns are recognised by a CSV's header, or the names in each JSON object, in any order and case. Others are
    ignored, but without a column of instruments, another column of apparent symbols is refused:

    - text: ``text``, ``headline`` or ``title``;
    - time of publication: ``published``, ``timestamp``, ``ts_event``, ``date``, ``datetime`` or ``time``;
    - time of receipt, optional: ``received`` or ``ts_init``;
    - publisher, optional: ``source``;
    - instruments, if there: ``symbol``, ``ticker``, ``stock`` and the like
    (`market.news.table.NAMES`), several
      with ``;``, ``|``, a comma or a space between, in JSON also as a list.

    Times are Unix s, ms, us or ns of the years 2000 to 2099, or ISO 8601; those without an offset are of
    ``read.timezone``, or without one taken as UTC, which the notes say. What is dated by a day alone was known for
    certain only when that day was over, and may have been published at its last moment: its time is the midnight
    after it.

    Parameters
    ----------
    path : Path
        A file, an archive, a folder of these, or a glob; a headline that several files have is taken once. Cells of a
        CSV may be separated by comma, semicolon, tab or ``|``, and run over several lines within quotes. Texts are in
        UTF-8, in UTF-16 with a byte order mark, or else in Windows-1252, which the notes say.
    instrument_id : str, optional
        Instrument of all headlines if the file has no column of them. If it has, rows that do not name this instrument
        are omitted and counted; a symbol (``AAPL``, ``$AAPL``) is in any case of letters, and on this one's venue.
    delay_ns : int, optional
        Time from publication to receipt, at least 0, for files without times of receipt, and only for
        them. There is no default: an assumption that news is known at once has to be made by the user.
    read : ReadOptions
        The zone of times without an offset, and the order of dates that end with the year.

    Returns
    -------
    Headlines
        By time of receipt; those of one time as in the file. Texts are as in the file, character by character.

    Raises
    ------
    BadData
        Naming file, line, what was expected and what it was. No invalid row is skipped.
    ValueError
        A negative ``delay_ns``.
    """
    if delay_ns is not None and delay_ns < 0:
        raise InvalidArgument(f"expected delay_ns of at least 0, got {delay_ns}")
    if instrument_id is not None and not INSTRUMENT.fullmatch(instrument_id):
        raise BadData(f"expected an instrument like BTCUSDT.BINANCE, got {instrument_id!r}")
    parts = [_read_table(table, instrument_id, delay_ns, read) for table in read_headline_tables(path)]
    name = parts[0].name if len(parts) == 1 else path.name
    headlines = (
        parts[0].headlines if len(parts) == 1 else [*dict.fromkeys(each for part in parts for each in part.headlines)]
    )
    others = sum((part.others for part in parts), Counter[str]())
    if not headlines:
        got = f"headlines only on {_listed(others)}" if others else "headlines that name no instrument"
        raise BadData(f"{name}: expected a headline on {instrument_id or 'an instrument'}, got {got}")
    by_receipt = Headlines(sorted(headlines, key=lambda headline: headline.ts_init))
    notes = [note for part in parts for note in part.notes]
    if repeated := sum(len(part.headlines) for part in parts) - len(headlines):
        notes.append(f"{name}: {repeated:,} headlines stand in several files and were taken once.")
    by_receipt.notes = tuple(dict.fromkeys(notes))
    return by_receipt


class _FileHeadlines(NamedTuple):
    """What one file holds."""

    name: str
    headlines: list[Headline]
    others: Counter[str]
    """Instruments of headlines on others."""
    notes: list[str]


def _read_table(
    table: HeadlineTable, instrument_id: str | None, delay_ns: int | None, read: ReadOptions
) -> _FileHeadlines:
    published, received = _publication_and_receipt(table, delay_ns, read)
    ts_event, ts_init = published.utc_ns, received.utc_ns
    instruments = _instruments(table, instrument_id)
    texts, sources = table.cells("text"), table.cells("source")
    headlines, others, unnamed = [], Counter[str](), []
    for row, named in enumerate(instruments):
        if not named:
            unnamed.append(row)
            continue
        try:
            headline = Headline(texts[row], sources[row], named, int(ts_event[row]), int(ts_init[row]))
        except BadData as error:
            raise BadData(f"{table.name}: {table.place(row)}: {error}") from None
        if instrument_id is None or instrument_id in headline.instrument_ids:
            headlines.append(headline)
        else:
            others.update(headline.instrument_ids)
    notes = [*table.notes, *(note for note in (published.note, received.note) if note is not None)]
    count = len(texts)
    if "instruments" not in table.columns:
        notes.append(f"{table.name}: no column names instruments: its {count:,} headlines count as on {instrument_id}.")
    if others:
        omitted = f"{count - len(headlines) - len(unnamed):,} of {count:,} headlines are on other instruments"
        notes.append(f"{table.name}: {omitted} ({_listed(others)}) and were left out.")
    if unnamed:
        omitted = f"{len(unnamed):,} of {count:,} headlines name no instrument"
        notes.append(f"{table.name}: {omitted} and were left out, first in {table.place(unnamed[0])}.")
    return _FileHeadlines(table.name, headlines, others, notes)


def _listed(names: Counter[str]) -> str:
    """Return the commonest names, and how many there are besides."""
    listed = [name for name, _ in names.most_common(5)]
    return ", ".join(listed) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _publication_and_receipt(table: HeadlineTable, delay_ns: int | None, read: ReadOptions) -> tuple[Times, Times]:
    """Return both times of each row."""
    received = table.columns.get("received")
    published = _times(table, table.columns["published"], read)
    if received is None and delay_ns is None:
        raise BadData(
            f"{table.name}: expected times of receipt (received or ts_init), or a delay_ns from publication to receipt "
            f"(0 where news is known at once), got only {', '.join(table.columns.values())} and no delay_ns"
        )
    if received is None:
        return published, published._replace(utc_ns=published.utc_ns + np.int64(delay_ns or 0))
    if delay_ns is not None:
        raise BadData(f"{table.name}: expected no delay_ns, as {received!r} holds times of receipt, got {delay_ns}")
    return published, _times(table, received, read)


def _times(table: HeadlineTable, column: str, read: ReadOptions) -> Times:
    """Return a column of times; a day is the midnight after it."""
    example = "a time like 2024-01-31T09:30:00Z or a day like 2024-01-31"
    return table.times(column, example, read.timezone, distinct=False, day_ends=True, date_order=read.date_order)


def _instruments(table: HeadlineTable, instrument_id: str | None) -> list[tuple[str, ...]]:
    """Return the instruments of each row, none where it names none."""
    if "instruments" not in table.columns:
        if instrument_id is None:
            raise BadData(
                f"{table.name}: expected a column of instruments, or an instrument_id for all headlines, "
                f"got {', '.join(table.columns.values())}"
            )
        return [(instrument_id,)] * len(table.frame)
    refuse = table.refusal(table.columns["instruments"])
    named = []
    for row, cell in enumerate(table.cells("instruments")):
        names = [_full_name(name, instrument_id) for name in _symbols(cell)]
        if any(map(BRACKETS.search, names)):
            raise refuse(row, "symbols such as AAPL, several as AAPL;TSLA or ['AAPL', 'TSLA']")
        if any("." not in name for name in names):
            raise refuse(row, "instruments like BTCUSDT.BINANCE", "--instrument names the venue of others")
        named.append(tuple(dict.fromkeys(names)))
    return named


def _symbols(cell: str) -> list[str]:
    """Return the names in a cell, which may be a list as a program prints it."""
    if LIST.fullmatch(cell):
        return [QUOTED.sub(r"\2", name) for name in SEPARATORS.split(cell.strip()[1:-1]) if name]
    return [name for name in SEPARATORS.split(cell) if name]


def _full_name(name: str, instrument_id: str | None) -> str:
    """Return a name with its venue, which is that of ``instrument_id`` where it does not say."""
    name = name.removeprefix("$")
    full = EXCHANGE_FIRST.sub(r"\2.\1", name)
    symbol, _, venue = (instrument_id or "").rpartition(".")
    if instrument_id and name.casefold() == symbol.removeprefix("$").casefold():
        return instrument_id
    if instrument_id and full.casefold() == instrument_id.casefold():
        return instrument_id
    return full if "." in full or not venue else f"{full}.{venue}"
