"""Trades from the CSV files that Tardis and Binance publish."""

import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from market.decimals import parse_decimals, parse_integers
from market.trades import BadData, Instrument, Trades

SIDES = {"buy": 1, "sell": -1, "unknown": 0}
"""Tardis' words for the aggressor."""
MAKER_SIDES = {"true": -1, "false": 1}
"""Binance says whether the buyer was the maker; the aggressor is the other one."""
VENUES = {"binance-futures": "BINANCE"}
"""Exchanges of Tardis whose venue is not simply the name in capitals."""
FILE_NAME = re.compile(r"(?P<symbol>[A-Z0-9_]+)-(?:trades|aggTrades)\b")
"""How Binance names its files: ``BTCUSDT-trades-2024-01.zip``."""
FIRST_MS, LAST_MS = 946_684_800_000, 4_102_444_800_000
"""Times outside of the years 2000 to 2099 are in some other unit."""


@dataclass(frozen=True)
class Layout:
    """Which columns a kind of file has, and what ours are called there."""

    title: str
    """What to call it in messages."""
    columns: tuple[str, ...]
    """All of them, in order, for files without a header."""
    price: str
    """Column of the price."""
    size: str
    """Column of the size."""
    time: str
    """Column of the venue's time."""
    trade_id: str
    """Column of the trade's identifier."""
    side: str
    """Column that tells the aggressor."""
    sides: dict[str, int]
    """What that column may hold, in lower case, and the sign it stands for."""


TARDIS = Layout(
    "Tardis trades",
    ("exchange", "symbol", "timestamp", "local_timestamp", "id", "side", "price", "amount"),
    *("price", "amount", "timestamp", "id", "side"),
    SIDES,
)
BINANCE = Layout(
    "Binance trades",
    ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match"),
    *("price", "qty", "time", "id", "is_buyer_maker"),
    MAKER_SIDES,
)
BINANCE_AGGREGATED = Layout(
    "Binance aggTrades",
    (
        *("agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id"),
        *("transact_time", "is_buyer_maker", "is_best_match"),
    ),
    *("price", "quantity", "transact_time", "agg_trade_id", "is_buyer_maker"),
    MAKER_SIDES,
)
LAYOUTS = (TARDIS, BINANCE, BINANCE_AGGREGATED)


def load_csv(path: Path) -> Trades:
    """Read one file of trades, plain, ``.gz`` or ``.zip``, with or without a header.

    Tardis' ``trades`` (times in microseconds) and Binance's ``trades`` and ``aggTrades``
    (spot and futures, times in milliseconds or microseconds) are told apart by their header,
    else by their columns. Binance's files do not name the instrument: their file name does.
    They have no time of receipt either, so ``ts_init`` equals ``ts_event``.

    Returns
    -------
    Trades
        Not checked yet: see `market.trades.check`. Prices and sizes are exact; their precision
        is the most decimals seen, zeros at the end not counted.

    Raises
    ------
    BadData
        Naming file, column, row (0-based, header not counted), what it was and what was expected.
    """
    table = _Table.read(path)
    layout = table.layout
    price, price_precision = parse_decimals(table.texts(layout.price), table.refusal(layout.price))
    size, size_precision = parse_decimals(table.texts(layout.size), table.refusal(layout.size))
    symbol, venue = _tardis_instrument(table) if layout is TARDIS else (_symbol(path), "BINANCE")
    ts_event = table.times(layout.time)
    return Trades(
        instrument=Instrument(symbol, venue, price_precision, size_precision),
        source=path.name,
        simulated=False,
        ts_event=ts_event,
        ts_init=table.times("local_timestamp") if layout is TARDIS else ts_event,
        price=price,
        size=size,
        side=table.sides(),
        trade_id=table.texts(layout.trade_id).astype(np.str_),
    )


@dataclass(frozen=True, eq=False)
class _Table:
    """A file's cells as texts, and what its columns are."""

    name: str
    layout: Layout
    frame: pd.DataFrame

    @classmethod
    def read(cls, path: Path) -> "_Table":
        frame = _read_texts(path)
        first = [str(cell).strip() for cell in frame.iloc[0]]
        if any(_is_number(cell) for cell in first):
            layout = _layout_of_row(path.name, first)
            columns = list(layout.columns[: len(first)])
        else:
            layout, columns = _layout_of_header(path.name, first), first
            frame = frame.iloc[1:]
        if frame.empty:
            raise BadData(f"{path.name}: at least one trade expected, was only a header")
        return cls(path.name, layout, frame.set_axis(columns, axis=1))

    def texts(self, column: str) -> NDArray[np.object_]:
        return self.frame[column].to_numpy()

    def refusal(self, column: str) -> Callable[[int, str], BadData]:
        def refuse(row: int, expected: str) -> BadData:
            was = self.frame[column].iloc[row]
            return BadData(f"{self.name}: row {row}, column {column!r}: {expected} expected, was {was!r}")

        return refuse

    def times(self, column: str) -> NDArray[np.int64]:
        """Unix ns from Unix ms or us, which no date between 2000 and 2099 leaves in doubt."""
        refuse = self.refusal(column)
        raw = parse_integers(self.texts(column), refuse)
        is_ms = (raw >= FIRST_MS) & (raw < LAST_MS)
        is_us = (raw >= FIRST_MS * 1000) & (raw < LAST_MS * 1000)
        if not (is_ms | is_us).all():
            raise refuse(int((~(is_ms | is_us)).argmax()), "Unix milliseconds or microseconds of 2000 to 2099")
        return raw * np.where(is_us, 1_000, 1_000_000).astype(np.int64)

    def sides(self) -> NDArray[np.int8]:
        column, known = self.layout.side, self.layout.sides
        sides = self.frame[column].str.lower().map(known)
        unknown = sides.isna().to_numpy()
        if unknown.any():
            raise self.refusal(column)(int(unknown.argmax()), " or ".join(known))
        return sides.to_numpy().astype(np.int8)


def _read_texts(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, header=None, dtype=str, na_filter=False, skipinitialspace=True)
    except pd.errors.EmptyDataError:
        raise BadData(f"{path.name}: at least one trade expected, was an empty file") from None
    except (pd.errors.ParserError, UnicodeDecodeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadData(f"{path.name}: comma-separated values expected, was unreadable: {str(error).strip()}") from error


def _layout_of_header(name: str, header: list[str]) -> Layout:
    layout = max(LAYOUTS, key=lambda layout: len(set(layout.columns) & set(header)))
    required = set(layout.columns) - {"quote_qty", "first_trade_id", "last_trade_id", "is_best_match"}
    missing = sorted(required - set(header))
    if missing:
        raise BadData(f"{name}: columns {missing} of {layout.title} expected, was a header of {header}")
    return layout


def _layout_of_row(name: str, row: list[str]) -> Layout:
    """Tell files without a header apart by their first row.

    Seven columns may be spot trades or futures aggTrades; only the former's sixth is a boolean.
    """
    if len(row) == 8:
        return BINANCE_AGGREGATED if _is_number(row[0]) else TARDIS
    if len(row) == 7:
        return BINANCE if row[5].lower() in MAKER_SIDES else BINANCE_AGGREGATED
    if len(row) == 6:
        return BINANCE
    titles = ", ".join(layout.title for layout in LAYOUTS)
    raise BadData(f"{name}: 6 to 8 columns of {titles} expected, was {len(row)}: {row}")


def _tardis_instrument(table: _Table) -> tuple[str, str]:
    for column in ("exchange", "symbol"):
        cells = table.frame[column]
        other = (cells != cells.iloc[0]).to_numpy()
        if other.any():
            raise table.refusal(column)(int(other.argmax()), f"only {cells.iloc[0]!r}")
    exchange, symbol = table.frame["exchange"].iloc[0], table.frame["symbol"].iloc[0]
    return symbol, VENUES.get(exchange, exchange.upper())


def _symbol(path: Path) -> str:
    found = FILE_NAME.match(path.name)
    if not found:
        raise BadData(
            f"{path.name}: a file name like BTCUSDT-trades-2024-01.csv expected, as Binance's files "
            f"do not say which instrument they hold, was {path.name!r}"
        )
    return found["symbol"]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
