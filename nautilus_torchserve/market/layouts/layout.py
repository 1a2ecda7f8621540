"""The description of a file layout, and the recognition of a file's layout by its first rows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Literal

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.csv_table import is_number, is_unix, is_unix_time

DATE = re.compile(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4}|\d{8}(?! \d{6})")
"""Start of a time that is not Unix."""
SIZE_LIKE = re.compile("vol|siz|amount|qty|quantity|turnover|umsatz|menge")
"""Names that a column of volumes or sizes may have."""
QUOTE_CURRENCY = re.compile(r"[\s_(](usd|usdt|usdc|busd|eur|gbp|jpy|krw|currency|quote)\)?$")
"""End of the name of a volume in the currency in which prices are; vendors have that of the base currency first."""
SIZES = ("volume", "bid_size", "ask_size")
"""Fields of these."""
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?|\d{4}|\d{6}")
"""A time of day in a column of its own."""

DAY_ALONE = re.compile(DATE.pattern)
"""A date without a time of day."""
CLOCK_ALONE = re.compile(rf"(({DATE.pattern})[ T]+)?\d{{1,2}}:\d{{2}}(:\d{{2}}([.,]\d+)?)?( ?[AaPp][Mm]|Z|[+-][\d:]+)?")
"""A time of day, and nothing but perhaps its date."""

Kind = Literal["bars", "trades", "quotes", "funding", "borrow"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One vendor's or venue's files of one kind of data; an entry of the table of layouts.

    Fields of bars are time, open, high, low, close, volume, interval (a code of `intervals_s`); of trades time,
    received, id, side, action, price, size; of quotes time, received, id, bid_price, bid_size, ask_price, ask_size; of
    funding and borrow rates time (when a rate is due), quoted (when it was published), interval (hours) and rate. All
    may have symbol, exchange and clock, which is the time of day where ``time`` is a date alone.
    """

    name: str
    """Name for ``--layout``: ``binance-klines``."""
    title: str
    """Name for messages: ``Binance klines``."""
    kind: Kind
    """What a row is."""
    documented: str
    """Where the vendor describes it."""
    columns: Mapping[str, tuple[str, ...]]
    """Field -> names in a header as `plain_name` has them; one with ``?`` at its end, or ``*`` for any text, counts
    only where no other is there. The first one stands for the field in `bare`."""
    optional: frozenset[str] = frozenset()
    """Fields that a file may lack."""
    ignored: tuple[str, ...] = ()
    """Names of columns that are not read; they help to recognise the layout."""
    bare: tuple[tuple[str, ...], ...] = ()
    """The columns of files without a header, for each number of columns; empty if such files are not published."""
    units: tuple[str, ...] = ("seconds", "milliseconds", "microseconds", "nanoseconds")
    """Units in which its Unix times may be."""
    timezone: str | None = None
    """IANA name of the zone of its times without an offset, where the vendor documents one."""
    day_first: bool = False
    """Whether the vendor writes days before months."""
    stamp: Literal["open", "close"] | None = None
    """End of its bar that a time marks, where the vendor documents it; None leaves it to the user."""
    sides: Mapping[str, int] = field(default_factory=dict)
    """Value of the side in lower case -> aggressor: +1 buyer, -1 seller, 0 unknown."""
    intervals_s: Mapping[str, int] = field(default_factory=dict)
    """Value of the interval of bars -> its length in seconds."""
    actions: tuple[str, ...] = ()
    """Values of the action whose rows are read; empty reads all."""
    repeated: tuple[str, ...] = ()
    """Fields whose value is left out of a row where it is that of the row before."""
    raw_decimals: int = 0
    """Decimals of prices that are written as whole numbers, without a point."""
    time_form: re.Pattern[str] | None = None
    """Form of its times, where it is neither Unix nor ISO 8601."""
    venue: str | None = None
    """Venue of all its instruments."""
    venues: Mapping[str, str] = field(default_factory=dict)
    """Value of the exchange -> venue, where that is not the value in capitals."""
    file_name: re.Pattern[str] | None = None
    """Pattern of the start of its file names, with a group ``symbol``, and ``venue`` where they name one."""
    example: str = ""
    """One of its file names, for messages."""
    needs_file_name: bool = False
    """Whether only the name tells its files from others."""
    only_by_name: bool = False
    """Whether it is used with ``--layout`` alone, as others have the same columns with another meaning."""

    @property
    def required(self) -> tuple[str, ...]:
        """Fields that every file has."""
        return tuple(name for name in self.columns if name not in self.optional)

    def matches_name(self, file: str) -> bool:
        """Return whether a file is named as its files are."""
        return self.symbol_of(file) != ""

    def symbol_of(self, file: str) -> str:
        """Return the symbol in a file's name; empty if the file is not named as its files are."""
        match = self.file_name.match(file) if self.file_name else None
        return match["symbol"] if match else ""

    def venue_of(self, file: str) -> str:
        """Return the venue in a file's name; empty if there is none."""
        match = self.file_name.match(file) if self.file_name else None
        return (match.groupdict().get("venue") or "").upper() if match else ""

    def known(self, header: Sequence[str]) -> int:
        """Return how many cells of a header it knows, those of one field counted once."""
        return len(
            {self.field_of(cell) or cell for cell in header if _is_named(cell, self.ignored) or self.field_of(cell)}
        )

    def field_of(self, cell: str) -> str | None:
        """Return the field of a column name."""
        return next((name for name, names in self.columns.items() if _is_named(cell, names)), None)


def _is_named(cell: str, names: Sequence[str]) -> bool:
    return _has_name(cell, names) or any(
        (name.endswith("?") and _has_name(cell, [name[:-1]])) or (name.endswith("*") and cell.startswith(name[:-1]))
        for name in names
    )


def _has_name(cell: str, names: Sequence[str]) -> bool:
    return cell in names or _joined(cell) in map(_joined, names)


@cache
def _joined(name: str) -> str:
    """Return a name without what separates its words: ``Open time``, ``open_time`` and ``openTime`` are one."""
    return re.sub(r"[\s_.]", "", name)


def plain_name(cell: str) -> str:
    """Return a header's cell in lower case, without ``<>`` (MetaTrader and Stooq write ``<DATE>``) and ``#``, and with
    a space before what is in brackets.
    """
    return re.sub(r"[\s_]*\(", " (", cell.strip().strip("<>#").lower())


def candidates(file: str, layouts: Sequence[Layout]) -> list[Layout]:
    """Return the layouts that a file of this name may have; the only one, if it is forced."""
    if len(layouts) == 1:
        return list(layouts)
    return [
        layout
        for layout in layouts
        if not layout.only_by_name and (layout.matches_name(file) or not layout.needs_file_name)
    ]


def recognise_header(file: str, header: Sequence[str], layouts: Sequence[Layout]) -> tuple[Layout, dict[str, int]]:
    """Return the layout that knows most of a header's columns, and the position of each field.

    Of equals it is one of which no column is missing, then one whose files are named like this one, then the first.

    Raises
    ------
    BadData
        A column of that layout is missing, or a field has several.
    """
    cells = [plain_name(cell) for cell in header]
    layout = max(
        candidates(file, layouts),
        key=lambda layout: (layout.known(cells), not _missing(layout, cells), layout.matches_name(file)),
    )
    if missing := _missing(layout, cells):
        raise BadData(f"{file}: expected columns {missing} of {layout.title}, got a header of {list(header)}")
    fields = [*map(layout.field_of, cells)]
    unread = [
        name
        for name, field in zip(cells, fields, strict=True)
        if field is None and SIZE_LIKE.search(name) and not _is_named(name, layout.ignored)
    ]
    for name in SIZES:
        if unread and name in layout.optional and name in layout.columns and name not in fields:
            raise BadData(
                f"{file}: expected a column of {name} ({', '.join(layout.columns[name])}), got {unread}; rename it, or "
                "remove it if it holds none"
            )
    positions = {}
    for name, names in layout.columns.items():
        matches = [position for position, cell in enumerate(cells) if _has_name(cell, names)]
        matches = [position for position in matches if cells[position]] or matches  # an index without a name comes last
        if len(matches) > 1:
            got = " and ".join(header[position] for position in matches)
            raise BadData(f"{file}: expected one column of {name} ({', '.join(names)}), got {got}")
        matches = matches or [position for position, cell in enumerate(cells) if _is_named(cell, names)]
        matches = [at for at in matches if not QUOTE_CURRENCY.search(cells[at])] or matches
        if matches:
            positions[name] = matches[0]
    return layout, positions


def _missing(layout: Layout, cells: Sequence[str]) -> list[str]:
    """Return the names of required columns that a header lacks."""
    present = {layout.field_of(cell) for cell in cells}
    return [layout.columns[name][0] for name in layout.required if name not in present]


def refuse_unread_clock(file: str, time: str, unread: Mapping[str, str]) -> None:
    """Refuse times that are a date alone beside a column with times of day that is not read.

    Parameters
    ----------
    time : str
        The time of the first row.
    unread : mapping
        Name of a column that is not read -> its cell in the first row.

    Raises
    ------
    BadData
    """
    if not DAY_ALONE.fullmatch(time.strip()):
        return
    for name, cell in unread.items():
        if CLOCK_ALONE.fullmatch(cell.strip()):
            raise BadData(
                f"{file}: expected times with a time of day, got the date {time!r} beside {cell!r} in column {name!r}; "
                "put both into one column"
            )


def recognise_row(file: str, row: Sequence[str], layouts: Sequence[Layout]) -> tuple[Layout, list[str]]:
    """Return the layout that the first row of a file without a header fits best, and the columns that the file has.

    The number of columns must be one that the layout's files have; of several such layouts the one is taken to which
    most cells fit; of equals the one whose files are named like this one, then the first.

    Raises
    ------
    BadData
        No layout has files of this many columns without a header.
    """
    layouts = candidates(file, layouts)
    fitting = [(layout, columns) for layout in layouts for columns in layout.bare if len(columns) == len(row)]
    if not fitting:
        known = ", ".join(
            f"{' or '.join(str(len(columns)) for columns in layout.bare)} ({layout.title})"
            for layout in layouts
            if layout.bare
        )
        raise BadData(
            f"{file}: expected a header, or a number of columns that such files have without one: {known}; "
            f"got {len(row)} columns: {list(row)}"
        )
    layout, columns = max(
        fitting,
        key=lambda pair: (sum(map(partial(_fits, pair[0]), pair[1], row)), pair[0].matches_name(file)),
    )
    return layout, list(columns)


def _fits(layout: Layout, column: str, cell: str) -> bool:
    """Return whether a cell is such as a layout has in a column."""
    name, text = layout.field_of(column), cell.strip()
    if name in ("time", "received"):
        if layout.time_form is not None:
            return layout.time_form.fullmatch(text) is not None
        return is_unix_time(text, layout.units) if is_unix(text) else DATE.match(text) is not None
    if name == "clock":
        return CLOCK.fullmatch(text) is not None
    if name == "side":
        return text.lower() in layout.sides
    if name in ("symbol", "exchange"):
        return bool(text) and not is_number(text)
    return name is None or name == "id" or not text or is_number(text)
