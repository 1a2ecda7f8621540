"""Loading of trades from any source."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.csv_table import SPREADSHEET, Table, is_number, read_cells
from nautilus_torchserve.market.decimals import has_exponent, parse_decimals
from nautilus_torchserve.market.read_options import CsvLines, ReadOptions
from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import BadData, Instrument, Trades, check

SIDES = {"buy": 1, "sell": -1, "unknown": 0}
"""Tardis' names of the aggressor's side."""
MAKER_SIDES = {"true": -1, "false": 1}
"""Binance flags whether the buyer was the maker; the aggressor is the other side."""
VENUES = {"binance-futures": "BINANCE"}
"""Exchanges of Tardis whose venue is not simply the name in capitals."""
FILE_NAME = re.compile(r"(?P<symbol>[A-Z0-9_]+)-(?:trades|aggTrades)\b")
"""Pattern of Binance's file names: ``BTCUSDT-trades-2024-01.zip``."""
TIMES = ("milliseconds", "microseconds")
"""Units of Unix time in such files."""


def load(
    data: Path | str | None,
    trades: int,
    seed: int,
    instrument_id: str | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008, it is frozen
) -> Trades:
    """Load trades and check them.

    Parameters
    ----------
    data : path, optional
        A folder is a NautilusTrader catalog, a file is a CSV; None simulates.
    trades : int
        Number of trades to simulate.
    seed : int
        Seed of the simulation.
    instrument_id : str, optional
        The instrument to read from a catalog; other data must be of this instrument, compared without case and with
        ``-`` equal to ``_``, as venues, vendors and NautilusTrader differ in both.
    read : ReadOptions
        How to interpret times, and whether prices may jump.

    Raises
    ------
    BadData
        No data, unreadable data, another instrument, or failed checks
        (`market.trades.trades.check`).
    """
    loaded = simulate(trades, seed) if data is None else _from_path(Path(data), instrument_id, read)
    loaded_id = loaded.instrument.instrument_id
    if instrument_id is not None and _plain(loaded_id) != _plain(instrument_id):
        raise BadData(f"{loaded.source}: expected trades of {instrument_id}, got {loaded_id}")
    return check(replace(loaded, read=read))


def _plain(name: str) -> str:
    return name.upper().replace("-", "_")


def _from_path(path: Path, instrument_id: str | None, read: ReadOptions) -> Trades:
    if not path.exists():
        raise BadData(f"{path}: expected a CSV file or a catalog folder, got a path that does not exist")
    if path.is_file():
        return load_csv(path, read)
    from nautilus_torchserve.market.trades.catalog import (
        load_catalog,  # a host that only trains on files has no nautilus_trader
    )

    return replace(load_catalog(path, instrument_id), catalog=path)


@dataclass(frozen=True)
class Layout:
    """Columns of one file format."""

    title: str
    """Name of the format, for messages."""
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
    """Column of the aggressor's side."""
    sides: dict[str, int]
    """Values of that column in lower case -> sign."""


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


def load_csv(path: Path, read: ReadOptions = ReadOptions()) -> Trades:  # noqa: B008, it is frozen
    """Read one file of trades, plain, ``.gz`` or ``.zip``, with or without a header.

    Tardis' ``trades`` (times in microseconds) and Binance's ``trades`` and ``aggTrades``
    (spot and futures, times in milliseconds or microseconds) are distinguished by their header,
    else by their columns. Binance's files do not name the instrument: their file name does.
    They have no time of receipt either, so ``ts_init`` equals ``ts_event``.

    Parameters
    ----------
    path : Path
        The file.
    read : ReadOptions
        Kept with the trades, for `market.trades.trades.check`; times in such files need no
        timezone.

    Returns
    -------
    Trades
        Not checked yet: see `market.trades.trades.check`. Prices and sizes are exact; their
        precision is the most decimals seen, zeros at the end not counted.

    Raises
    ------
    BadData
        Naming file, line, column, what was expected and what it was.
    """
    table, layout, lines = _read(path)
    price, price_precision = parse_decimals(table.texts(layout.price), table.refusal(layout.price))
    size, size_precision = parse_decimals(table.texts(layout.size), table.refusal(layout.size))
    symbol, venue = _tardis_instrument(table) if layout is TARDIS else (_symbol(path), "BINANCE")
    ts_event = table.unix_times(layout.time, TIMES)
    return Trades(
        instrument=Instrument(symbol, venue, price_precision, size_precision),
        source=path.name,
        simulated=False,
        ts_event=ts_event,
        ts_init=table.unix_times("local_timestamp", TIMES) if layout is TARDIS else ts_event,
        price=price,
        size=size,
        side=_sides(table, layout),
        trade_id=_trade_ids(table, layout),
        read=read,
        lines=lines,
    )


def _read(path: Path) -> tuple[Table, Layout, CsvLines]:
    cells, first, has_header, lines = read_cells(path, "trade")
    layout = _layout_of_header(path.name, first) if has_header else _layout_of_row(path.name, first)
    columns = first if has_header else list(layout.columns[: len(first)])
    return Table(path.name, cells.set_axis(columns, axis=1), lines), layout, lines


def _trade_ids(table: Table, layout: Layout) -> NDArray[np.str_]:
    texts = table.texts(layout.trade_id)
    doubtful = has_exponent(texts)
    doubtful[doubtful] = [is_number(text) for text in texts[doubtful]]
    if doubtful.any():
        refuse = table.refusal(layout.trade_id)
        raise refuse(int(doubtful.argmax()), "a trade id with all its digits", SPREADSHEET)
    return texts.astype(np.str_)


def _sides(table: Table, layout: Layout) -> NDArray[np.int8]:
    sides = table.frame[layout.side].str.lower().map(layout.sides)
    unknown = sides.isna().to_numpy()
    if unknown.any():
        raise table.refusal(layout.side)(int(unknown.argmax()), " or ".join(layout.sides))
    return sides.to_numpy().astype(np.int8)


def _layout_of_header(name: str, header: list[str]) -> Layout:
    layout = max(LAYOUTS, key=lambda layout: len(set(layout.columns) & set(header)))
    required = set(layout.columns) - {"quote_qty", "first_trade_id", "last_trade_id", "is_best_match"}
    missing = sorted(required - set(header))
    if missing:
        raise BadData(f"{name}: expected columns {missing} of {layout.title}, got a header of {header}")
    return layout


def _layout_of_row(name: str, row: list[str]) -> Layout:
    """Return the layout of a file without a header by its first row.

    Seven columns may be spot trades or futures aggTrades; only the former's sixth is a boolean.
    """
    if len(row) == 8:
        return BINANCE_AGGREGATED if is_number(row[0]) else TARDIS
    if len(row) == 7:
        return BINANCE if row[5].lower() in MAKER_SIDES else BINANCE_AGGREGATED
    if len(row) == 6:
        return BINANCE
    titles = ", ".join(layout.title for layout in LAYOUTS)
    raise BadData(f"{name}: expected 6 to 8 columns of {titles}, got {len(row)}: {row}")


def _tardis_instrument(table: Table) -> tuple[str, str]:
    exchange, symbol = table.only_value("exchange"), table.only_value("symbol")
    return symbol, VENUES.get(exchange, exchange.upper())


def _symbol(path: Path) -> str:
    match = FILE_NAME.match(path.name)
    if not match:
        raise BadData(
            f"{path.name}: expected a file name like BTCUSDT-trades-2024-01.csv, as Binance's files "
            f"do not say which instrument they hold, got {path.name!r}"
        )
    return match["symbol"]
