"""A market data file as a table whose columns are known by what they mean."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.cells import read_cells
from nautilus_torchserve.market.csv_table import Table, Times, is_unix
from nautilus_torchserve.market.data_files import COMPRESSED, DataFile, FileRows
from nautilus_torchserve.market.data_files import SUFFIXES as FILE_SUFFIXES
from nautilus_torchserve.market.decimal_marks import decimal_mark, with_point
from nautilus_torchserve.market.decimals import parse_decimals, without_float_noise
from nautilus_torchserve.market.layouts.layout import Layout, recognise_header, recognise_row, refuse_unread_clock
from nautilus_torchserve.market.layouts.table import ALL_LAYOUTS
from nautilus_torchserve.market.local_time import DAY_NS
from nautilus_torchserve.market.read_options import BadReadOption, ReadOptions

SUFFIXES = re.compile(rf"({'|'.join(map(re.escape, (*FILE_SUFFIXES, '.json', *COMPRESSED, '.zip')))})+$", re.IGNORECASE)
TEXTS = ("time", "received", "id", "symbol", "exchange", "side", "action")
"""Fields that are no numbers."""
EXAMPLE_TIME = "a time like 2024-01-31 or 2024-01-31T09:30:00Z"


T = TypeVar("T")


class OtherInstrument(BadData):
    """A file is of another instrument than the requested one."""


@dataclass(frozen=True, eq=False)
class MarketTable(Table):
    """A file's cells as text, and what its columns mean."""

    lines: FileRows | None
    """Where the rows stand in the file; None where they have no lines."""
    layout: Layout
    """The file's layout."""
    columns: dict[str, str]
    """Field of the layout -> the file's name of its column."""
    mark: str
    """Decimal mark of its numbers, one of `market.read_options.DECIMAL_MARKS`."""
    notes: tuple[str, ...]
    """What was assumed or left out in reading it, a sentence each."""

    def take(self, rows: NDArray[np.int64]) -> "MarketTable":
        """Return the table of these rows."""
        lines = self.lines if self.lines is None else self.lines.take(rows)
        return replace(self, frame=self.frame.iloc[rows].reset_index(drop=True), lines=lines)

    def field_times(self, field: str, read: ReadOptions, *, distinct: bool) -> Times:
        """Return a column of times; those without an offset are of ``read.timezone``, else of the layout's zone."""
        column = self.columns[field]
        if is_unix(self.frame[column].iloc[0]):
            times = Times(self.unix_times(column, self.layout.units), None, None)
        else:
            order = read.date_order or ("day-first" if self.layout.day_first else None)
            zone = read.timezone or self.layout.timezone
            times = self.times(column, EXAMPLE_TIME, zone, distinct=distinct, date_order=order)
        late = times.utc_ns > time.time_ns() + DAY_NS  # a day: zones, and the bar of today
        if late.any():
            remedy = "correct it, or this machine's clock"
            raise self.refusal(column)(int(late.argmax()), "a time of the past", remedy)
        return times

    def decimals(self, fields: Sequence[str]) -> tuple[list[NDArray[np.int64]], int, str | None]:
        """Return columns of numbers in the same steps, each int64 [n], the decimals of a step, and a note on rounding.

        Raises
        ------
        BadData
            A cell is not a number, or has too many digits.
        """
        columns, rows = [self.columns[field] for field in fields], len(self.frame)
        texts = np.concatenate([self.texts(column) for column in columns])

        def refuse(row: int, expected: str, remedy: str = "") -> Exception:
            return self.refusal(columns[row // rows])(row % rows, expected, remedy)

        texts, noisy = without_float_noise(with_point(texts, self.mark))
        values, precision = parse_decimals(texts, refuse)
        note = (
            f"{self.name}: {noisy:,} of {len(texts):,} numbers in {', '.join(columns)} had the noise of binary floats "
            "and were rounded to 15 digits."
        )
        return list(values.reshape(len(columns), rows)), precision, note if noisy else None

    def prices(self, fields: Sequence[str]) -> tuple[list[NDArray[np.int64]], int, str | None]:
        """Return columns of prices as `decimals` does; whole numbers may be in the layout's ``raw_decimals``."""
        values, precision, note = self.decimals(fields)
        raw = self.layout.raw_decimals
        if not raw or any("." in text for field in fields for text in self.texts(self.columns[field]).tolist()):
            return values, precision, note
        precision = raw
        while precision and all((column % 10 ** (raw - precision + 1) == 0).all() for column in values):
            precision -= 1
        return [column // 10 ** (raw - precision) for column in values], precision, note

    def with_actions(self) -> "MarketTable":
        """Return the rows whose action is one of the layout's; others are counted in the notes."""
        if not self.layout.actions or "action" not in self.columns:
            return self
        chosen = self.frame[self.columns["action"]].isin(self.layout.actions).to_numpy()
        if chosen.all():
            return self
        note = f"{self.name}: {(~chosen).sum():,} of {len(chosen):,} rows are no {self.layout.kind} and were left out."
        if not chosen.any():
            raise BadData(f"{self.name}: expected {self.layout.kind}, got none in {len(chosen):,} rows")
        return replace(self.take(np.flatnonzero(chosen)), notes=(*self.notes, note))

    def with_repeated(self) -> "MarketTable":
        """Return the table with the values that the layout leaves out where they have not changed."""
        columns = [self.columns[field] for field in self.layout.repeated]
        if not columns:
            return self
        filled = self.frame[columns].replace("", None).ffill().fillna("")
        return replace(self, frame=self.frame.assign(**filled))


def read_market_table(file: DataFile, what: str, layouts: Sequence[Layout], read: ReadOptions) -> MarketTable:
    """Read a file of one of ``layouts``, every cell as the text it is.

    Parameters
    ----------
    what : str
        Noun for a row ("trade"), for messages.

    Raises
    ------
    BadData
        The file is unreadable or empty, or has none of the layouts.
    """
    cells = read_cells(file, what)
    layouts = _forced(layouts, read.layout)
    if cells.header is None:
        first = [str(cell).strip() for cell in cells.frame.iloc[0]]
        layout, names = recognise_row(file.name, first, layouts)
        positions = recognise_header(file.name, names, [layout])[1]
    else:
        names = cells.header
        layout, positions = recognise_header(file.name, names, layouts)
        form, first_time = layout.time_form, str(cells.frame.iloc[0, positions["time"]])
        if form is not None and len(layouts) > 1 and not form.fullmatch(first_time.strip()):
            others = [other for other in layouts if other is not layout]
            layout, positions = recognise_header(file.name, names, others)
    columns = {field: names[position] for field, position in positions.items()}
    frame = cells.frame[[*positions.values()]].set_axis([*columns.values()], axis=1).reset_index(drop=True)
    if "clock" not in columns:
        rest = {names[at]: str(cells.frame.iloc[0, at]) for at in range(len(names)) if at not in positions.values()}
        refuse_unread_clock(file.name, frame[columns["time"]].iloc[0], rest)
    else:  # a date and a time of day are one time
        date, clock = columns.pop("time"), columns.pop("clock")
        columns["time"] = f"{date} {clock}"
        frame[columns["time"]] = frame.pop(date) + " " + frame.pop(clock)
    table = MarketTable(file.name, frame, cells.rows, layout, columns, read.decimal or "point", cells.notes)
    table = table.with_actions().with_repeated()
    return table if read.decimal or not cells.delimiter else replace(table, mark=_mark(table, cells.delimiter))


def _mark(table: MarketTable, delimiter: str) -> str:
    """Return the decimal mark of a table's numbers."""
    columns = [column for field, column in table.columns.items() if field not in TEXTS]
    rows = len(table.frame)

    def refuse(row: int, expected: str, remedy: str) -> Exception:
        return table.refusal(columns[row // rows])(row % rows, expected, remedy)

    return decimal_mark(np.concatenate([table.texts(column) for column in columns]), delimiter, refuse)


def _forced(layouts: Sequence[Layout], name: str | None) -> Sequence[Layout]:
    """Return the layout of a name alone; all without one, or if it is of another kind of data, read beside this one."""
    if name is not None and name not in (names := [layout.name for layout in ALL_LAYOUTS]):
        raise BadReadOption(f"layout: expected one of {', '.join(names)}, got {name!r}")
    return [layout for layout in layouts if layout.name == name] or layouts


def read_parts(files: Sequence[DataFile], read_file: Callable[[DataFile], T]) -> list[T]:
    """Read files, without those of another instrument than the requested one.

    Raises
    ------
    BadData
        A file cannot be read, or all are of other instruments.
    """
    parts, other = [], None
    for file in files:
        try:
            parts.append(read_file(file))
        except OtherInstrument as error:
            other = error
    if other is not None and not parts:
        raise other
    return parts


def choose_instrument(table: MarketTable, instrument_id: str | None) -> tuple[MarketTable, str, str]:
    """Return the rows of one instrument, its symbol and its venue.

    The file's columns say which instruments it has, else its name, else the user: `instrument_id`. Names are compared
    without case and with ``-`` equal to ``_``, as venues, vendors and NautilusTrader differ in both.

    Raises
    ------
    BadData
        Neither the file nor an option names the instrument, there are several, or the option names another.
    """
    layout, given = table.layout, None if instrument_id is None else split_id(instrument_id)
    is_named = layout.matches_name(table.name)
    if "symbol" in table.columns:
        table, symbol = _only_symbol(table, given)
        if is_named and layout.venue and not same_instrument(symbol, of_name := layout.symbol_of(table.name)):
            raise BadData(f"{table.name}: expected {of_name} in column {table.columns['symbol']!r}, got {symbol}")
    elif given is not None and not (is_named and layout.venue):  # a name that a vendor gives it says nothing certain
        symbol = given[0]
    elif is_named:
        symbol = layout.symbol_of(table.name)
    elif layout.kind == "bars":
        symbol = _symbol_of_name(table.name)
    else:
        raise BadData(
            f"{table.name}: expected a file name like {layout.example}, as {layout.title} files do not say which "
            f"instrument they hold, got {table.name!r}; name it with --instrument"
        )
    venue = _venue(table, given)
    if instrument_id is not None and not same_instrument(f"{symbol}.{venue}", instrument_id):
        raise OtherInstrument(f"{table.name}: expected {layout.kind} of {instrument_id}, got {symbol}.{venue}")
    return table, symbol, venue


def _only_symbol(table: MarketTable, given: tuple[str, str] | None) -> tuple[MarketTable, str]:
    """Return the rows of the symbol that is ``given``, or of the only one that the file has, and this symbol."""
    cells = table.frame[table.columns["symbol"]].str.strip()
    symbols = cells.unique().tolist()
    if "" in symbols:
        raise table.refusal(table.columns["symbol"])(int((cells == "").to_numpy().argmax()), "a symbol")
    if len(symbols) == 1:
        return table, symbols[0]
    chosen = [symbol for symbol in symbols if given is not None and same_instrument(symbol, given[0])]
    if len(chosen) != 1:
        named = ", ".join(sorted(symbols)[:20]) + (f" and {len(symbols) - 20:,} more" if len(symbols) > 20 else "")
        wanted = "one instrument" if given is None else given[0]
        kind = BadData if given is None else OtherInstrument
        raise kind(f"{table.name}: expected {wanted}, got {len(symbols):,}: {named}; name one with --instrument")
    rows = np.flatnonzero((cells == chosen[0]).to_numpy())
    return table.take(rows), chosen[0]


def _venue(table: MarketTable, given: tuple[str, str] | None) -> str:
    if "exchange" in table.columns:
        exchange = table.only_value(table.columns["exchange"])
        return table.layout.venues.get(exchange, exchange.upper())
    if table.layout.venue is not None:
        return table.layout.venue
    return given[1] if given else table.layout.venue_of(table.name) or "FILE"


def _symbol_of_name(name: str) -> str:
    """Return the symbol of a file name: BTC-PERP for ``btc_perp_1m_2022-01.csv.gz``."""
    parts = re.split(r"[-_]", SUFFIXES.sub("", name))
    letters = next((i for i, part in enumerate(parts) if not (part.isascii() and part.isalpha())), len(parts))
    if not letters:
        raise BadData(f"{name}: expected --instrument, or a file name that begins with the symbol, got {name!r}")
    return "-".join(parts[:letters]).upper()


def split_id(instrument_id: str) -> tuple[str, str]:
    """Return symbol and venue of an instrument such as ``BTCUSDT.BINANCE`` or ``BRK.B.NYSE``.

    Raises
    ------
    BadData
    """
    symbol, _, venue = instrument_id.rpartition(".")
    if not (symbol and venue):
        raise BadData(f"expected an instrument like BTCUSDT.BINANCE, got {instrument_id!r}")
    return symbol, venue


def same_instrument(name: str, other: str) -> bool:
    """Return whether two names are of one instrument: without case, and with ``-`` equal to ``_``."""
    return plain_id(name) == plain_id(other)


def plain_id(name: str) -> str:
    """Return a name of an instrument, a symbol or a venue in the form in which such names are compared."""
    return name.upper().replace("-", "_")
