"""Loading of quotes from files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.data_files import DataFile, FileRows, is_catalog, require_files
from nautilus_torchserve.market.layouts.market_table import (
    MarketTable,
    choose_instrument,
    read_market_table,
    read_parts,
)
from nautilus_torchserve.market.layouts.quotes import QUOTES
from nautilus_torchserve.market.quotes.quotes import LEVELS, Depth, Q, Quotes, check
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.row_order import order_rows
from nautilus_torchserve.market.steps import common_steps
from nautilus_torchserve.market.trades.trades import Instrument

PRICES, SIZES = ("bid_price", "ask_price"), ("bid_size", "ask_size")
MISSING = ("", "nan", "NaN", "9223372036854775807")
"""Cells of a side that has no quote; the number is Databento's."""
ZEROS = ("0", *(f"0.{'0' * decimals}" for decimals in range(1, 10)))
"""Cells of a price or a size of 0."""
SIZE = 1_000_000
"""Size of quotes that have none, as `nautilus_trader.persistence.wranglers.QuoteTickDataWrangler` has it."""
MOST_CROSSED = 0.01
"""Largest share of quotes whose bid may be above their ask: beyond it the columns are probably swapped."""


def load_quotes(
    data: Path | str,
    instrument_id: str | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008, it is frozen
) -> Quotes:
    """Load the quotes of one instrument from files of any layout in `market.layouts.quotes`, and check them.

    Quotes are in order of event (`market.row_order`). One without a bid or an ask is left out, and so is one whose bid
    is above its ask, as a feed shows them for a moment, and one that repeats an earlier one in all values; the notes
    say how many.

    Parameters
    ----------
    data : path
        A file, an archive, a folder of these, or a glob; several files are joined in time. Or a NautilusTrader
        catalog.
    instrument_id : str, optional
        Which instrument, ``BTCUSDT.BINANCE``; may be left out where the files say it and have only one.
    read : ReadOptions
        How to interpret what the files leave open.

    Raises
    ------
    BadData
        No data, unreadable data, another instrument, or failed checks (`market.quotes.quotes.check`).
    """
    path = Path(data)
    if is_catalog(path):
        from nautilus_torchserve.market.quotes.catalog import (
            load_catalog_quotes,  # a host that only trains on files has no nautilus_trader
        )

        return replace(load_catalog_quotes(path, instrument_id), read=read)
    parts = read_parts(require_files(path, "quotes"), lambda file: _read_file(file, instrument_id, read))
    return check(_joined(parts, path.name))


def _read_file(file: DataFile, instrument_id: str | None, read: ReadOptions) -> Quotes:
    table = read_market_table(file, "quote", QUOTES, read)
    table, symbol, venue = choose_instrument(table, instrument_id)
    fields = [table.columns[field] for field in (*PRICES, *SIZES) if field in table.columns]
    both = ~(table.frame[fields].isin(MISSING).any(axis=1).to_numpy() | _is_of_one_side(table))
    notes = list(table.notes)
    if not both.all():
        notes.append(f"{file.name}: {(~both).sum():,} of {len(both):,} quotes lack a bid or an ask and were left out.")
        if not both.any():
            raise BadData(f"{file.name}: expected quotes with a bid and an ask, got none in {len(both):,} rows")
        table = table.take(np.flatnonzero(both))
    table, levels = _with_levels(table)
    prices, price_precision, note_on_prices = table.prices(_of_levels(PRICES, levels))
    sizes, size_precision, note_on_sizes = _sizes(table, levels)
    event = table.field_times("time", read, distinct=False)
    ts_init = (
        table.field_times("received", read, distinct=False).utc_ns if "received" in table.columns else event.utc_ns
    )
    notes += [note for note in (event.note, note_on_prices, note_on_sizes) if note is not None]
    quotes = Quotes(
        instrument=Instrument(symbol, venue, price_precision, size_precision),
        source=file.name,
        ts_event=event.utc_ns,
        ts_init=ts_init,
        bid_price=prices[0],
        ask_price=prices[1],
        bid_size=sizes[0],
        ask_size=sizes[1],
        read=read,
        notes=tuple(notes),
        lines=table.lines,
    )
    if levels:
        missing = [np.zeros(len(quotes), dtype=np.int64)] * (LEVELS - 1 - len(levels))
        sides: dict[str, Any] = {
            "bid_prices": prices[::2],
            "ask_prices": prices[1::2],
            "bid_sizes": sizes[::2],
            "ask_sizes": sizes[1::2],
        }
        sides = {name: np.column_stack([*side, *missing]) for name, side in sides.items()}
        quotes = Depth(**vars(quotes), **sides)
    return _without_crossed(quotes)


def _is_of_one_side(table: MarketTable) -> NDArray[np.bool_]:
    """Return which quotes have a bid or an ask of 0 with a size of 0, as Massive writes one that is not there [n]."""
    missing = np.zeros(len(table.frame), dtype=bool)
    for fields in zip(PRICES, SIZES, strict=True):
        if {*fields} <= {*table.columns}:
            cells = [table.frame[table.columns[field]].isin(ZEROS) for field in fields]
            missing |= (cells[0] & cells[1]).to_numpy()
    return missing


def _of_levels(fields: Sequence[str], levels: Sequence[int]) -> list[str]:
    """Return the fields of the best level and of these."""
    return [*fields, *(f"{field}_{level}" for level in levels for field in fields)]


def _with_levels(table: MarketTable) -> tuple[MarketTable, list[int]]:
    """Return the table with 0 in the cells of levels that are not there, and the numbers of those behind the best."""
    of_level = {level: [f"{field}_{level}" for field in (*PRICES, *SIZES)] for level in range(1, LEVELS)}
    levels = [level for level, fields in of_level.items() if any(field in table.columns for field in fields)]
    if not levels:
        return table, levels
    fields = [field for level in levels for field in of_level[level]]
    if missing := [field for field in fields if field not in table.columns]:
        raise BadData(f"{table.name}: expected price and size of both sides of each level, got no {', '.join(missing)}")
    columns = [table.columns[field] for field in fields]
    cells = table.frame[columns].replace(dict.fromkeys(MISSING, "0"))
    return replace(table, frame=table.frame.assign(**cells)), levels


def _sizes(table: MarketTable, levels: Sequence[int]) -> tuple[Sequence[NDArray[np.int64]], int, str | None]:
    """Return the sizes as `MarketTable.decimals` does; `SIZE` with a note where a file has none."""
    if any(field in table.columns for field in SIZES):
        if missing := [field for field in SIZES if field not in table.columns]:
            raise BadData(f"{table.name}: expected a size of the bid and of the ask, got no column of {missing[0]}")
        return table.decimals(_of_levels(SIZES, levels))
    note = f"{table.name}: has no sizes; each bid and ask counts as {SIZE:,}."
    return [np.full(len(table.frame), SIZE)] * 2, 0, note


def _without_crossed(quotes: Q) -> Q:
    crossed = quotes.bid_price > quotes.ask_price
    if not crossed.any():
        return quotes
    count, row = int(crossed.sum()), int(crossed.argmax())
    if count > max(MOST_CROSSED * len(quotes), 1):
        raise BadData(
            f"{quotes.source}: {quotes.place(row)}: expected a bid of at most the ask, got a higher one in "
            f"{count:,} of {len(quotes):,} quotes; are the columns swapped?"
        )
    note = f"{quotes.source}: {count:,} of {len(quotes):,} quotes have a bid above the ask and were left out."
    return replace(quotes.take(np.flatnonzero(~crossed)), notes=(*quotes.notes, note))


def _joined(parts: Sequence[Quotes], source: str) -> Quotes:
    """Return the quotes of all files in order of event, in the finest steps of any."""
    name = parts[0].source if len(parts) == 1 else source
    kinds = {type(part) for part in parts}
    if len(kinds) > 1:
        raise BadData(f"{name}: expected files of quotes or of order book depth, got both")
    (kind,) = kinds
    columns = {
        column: "price" if "price" in column else "size" for column in kind.arrays if not column.startswith("ts")
    }
    instrument, arrays = common_steps(name, parts, columns)
    ts_event, ts_init = (np.concatenate([getattr(part, key) for part in parts]) for key in ("ts_event", "ts_init"))
    repeated = pd.DataFrame(np.column_stack([ts_event, ts_init, *arrays.values()])).duplicated().to_numpy()
    lines = [part.lines for part in parts if part.lines is not None]
    joined = kind(
        instrument=instrument,
        source=name,
        ts_event=ts_event,
        ts_init=ts_init,
        **arrays,
        read=parts[0].read,
        notes=tuple(note for part in parts for note in part.notes),
        lines=FileRows.concat(lines) if len(lines) == len(parts) else None,
    )
    if repeated.any():
        note = f"{name}: {repeated.sum():,} of {len(repeated):,} rows repeat an earlier one and were left out."
        joined = replace(joined.take(np.flatnonzero(~repeated)), notes=(*joined.notes, note))
    order = order_rows(name, joined.ts_event, joined.ts_init)
    return replace(joined.take(order.rows), ts_init=order.ts_init, notes=(*joined.notes, *order.notes))
