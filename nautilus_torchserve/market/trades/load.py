"""Loading of trades from any source."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.csv_table import SPREADSHEET, is_number
from nautilus_torchserve.market.data_files import DataFile, FileRows, is_catalog, require_files
from nautilus_torchserve.market.decimals import has_exponent
from nautilus_torchserve.market.layouts.market_table import (
    MarketTable,
    choose_instrument,
    read_market_table,
    read_parts,
    same_instrument,
)
from nautilus_torchserve.market.layouts.trades import TRADES
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.row_order import order_rows, repeated_rows
from nautilus_torchserve.market.steps import common_steps
from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import ARRAYS, Instrument, Trades, check


def load(
    data: Path | str | None,
    trades: int = 0,
    seed: int = 1,
    instrument_id: str | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008, it is frozen
) -> Trades:
    """Load trades and check them.

    Parameters
    ----------
    data : path, optional
        A NautilusTrader catalog, a file of any layout in `market.layouts.trades`, an archive or a folder of such files,
        or a glob; several files are joined in time. None simulates.
    trades : int
        Number of trades to simulate, without data.
    seed : int
        Seed of the simulation.
    instrument_id : str, optional
        Which instrument; needed where the data have several or do not say. Compared without case and with ``-`` equal
        to ``_``, as venues, vendors and NautilusTrader differ in both.
    read : ReadOptions
        How to interpret what files leave open, and whether prices may jump.

    Raises
    ------
    BadData
        No data, unreadable data, another instrument, or failed checks
        (`market.trades.trades.check`).
    """
    loaded = simulate(trades, seed) if data is None else _from_path(Path(data), instrument_id, read)
    loaded_id = loaded.instrument.instrument_id
    if instrument_id is not None and not same_instrument(loaded_id, instrument_id):
        raise BadData(f"{loaded.source}: expected trades of {instrument_id}, got {loaded_id}")
    return check(replace(loaded, read=read))


def _from_path(path: Path, instrument_id: str | None, read: ReadOptions) -> Trades:
    if not is_catalog(path):
        return load_files(path, instrument_id, read)
    from nautilus_torchserve.market.trades.catalog import (
        load_catalog,  # a host that only trains on files has no nautilus_trader
    )

    return replace(load_catalog(path, instrument_id), catalog=path)


def load_files(
    data: Path,
    instrument_id: str | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008, it is frozen
) -> Trades:
    """Read the trades of one instrument from files of any layout in `market.layouts.trades`.

    Trades are in order of event (`market.row_order`). One that stands several times under one id is taken once.
    Layouts without times of receipt have those of the events; those without ids get the number of the row. What was
    left out, moved or assumed is in the notes.

    Parameters
    ----------
    data : path
        A file, an archive or a folder of such files, or a glob.
    instrument_id : str, optional
        Which instrument; needed where the files have several or do not say.
    read : ReadOptions
        How to interpret what the files leave open; kept with the trades, for `market.trades.trades.check`.

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
    parts = read_parts(require_files(data, "trades"), lambda file: _read_file(file, instrument_id, read))
    return _joined(parts, data.name)


def _read_file(file: DataFile, instrument_id: str | None, read: ReadOptions) -> Trades:
    table = read_market_table(file, "trade", TRADES, read)
    table, symbol, venue = choose_instrument(table, instrument_id)
    (price,), price_precision, note_on_prices = table.prices(["price"])
    (size,), size_precision, note_on_sizes = table.decimals(["size"])
    event = table.field_times("time", read, distinct=False)
    received = table.field_times("received", read, distinct=False) if "received" in table.columns else event
    trade_id, note_on_ids = _trade_ids(table)
    side, note_on_sides = _sides(table)
    notes = (*table.notes, event.note, note_on_prices, note_on_sizes, note_on_ids, note_on_sides)
    return Trades(
        instrument=Instrument(symbol, venue, price_precision, size_precision),
        source=file.name,
        simulated=False,
        ts_event=event.utc_ns,
        ts_init=received.utc_ns,
        price=price,
        size=size,
        side=side,
        trade_id=trade_id,
        read=read,
        notes=tuple(note for note in notes if note is not None),
        lines=table.lines,
    )


def _trade_ids(table: MarketTable) -> tuple[NDArray[np.str_], str | None]:
    """Return ids, and a note where they had to be made: empty ones are the number of the row."""
    rows = len(table.frame)
    texts = table.texts(table.columns["id"]).copy() if "id" in table.columns else np.full(rows, "", dtype=object)
    doubtful = has_exponent(texts)
    doubtful[doubtful] = [is_number(text) for text in texts[doubtful]]
    if doubtful.any():
        refuse = table.refusal(table.columns["id"])
        raise refuse(int(doubtful.argmax()), "a trade id with all its digits", SPREADSHEET)
    empty = texts == ""
    if not empty.any():
        return texts.astype(np.str_), None
    texts[empty] = [f"{table.name}:{row + 1}" for row in np.flatnonzero(empty).tolist()]
    note = f"{table.name}: {empty.sum():,} of {rows:,} trades have no id; the number of the row stands for it."
    return texts.astype(np.str_), note


def _sides(table: MarketTable) -> tuple[NDArray[np.int8], str | None]:
    """Return aggressors, and a note where the file does not have them."""
    if "side" not in table.columns:
        note = f"{table.name}: has no aggressor's side; it is unknown in all {len(table.frame):,} trades."
        return np.zeros(len(table.frame), dtype=np.int8), note
    column, values = table.columns["side"], table.layout.sides
    sides = table.frame[column].str.strip().str.lower().map(values)
    unknown = sides.isna().to_numpy()
    if unknown.any():
        expected = " or ".join(name for name in values if name)
        raise table.refusal(column)(int(unknown.argmax()), expected)
    return sides.to_numpy().astype(np.int8), None


def _joined(parts: Sequence[Trades], source: str) -> Trades:
    """Return the trades of all files, each once and in order of event, in the finest steps of any."""
    name = parts[0].source if len(parts) == 1 else source
    instrument, steps = common_steps(name, parts, {"price": "price", "size": "size"})
    lines = [part.lines for part in parts if part.lines is not None]
    others: dict[str, Any] = {
        key: np.concatenate([getattr(part, key) for part in parts]) for key in ARRAYS if key not in steps
    }
    joined = replace(
        parts[0],
        instrument=instrument,
        source=name,
        notes=tuple(note for part in parts for note in part.notes),
        lines=FileRows.concat(lines) if len(lines) == len(parts) else None,
        **steps,
        **others,
    )
    values = pd.DataFrame({key: getattr(joined, key) for key in ("ts_event", "price", "size", "side")})
    repeated, note = repeated_rows(joined, joined.trade_id, values, "trade id")
    joined = joined.take(np.flatnonzero(~repeated)) if note else joined
    order = order_rows(name, joined.ts_event, joined.ts_init, joined.trade_id)
    notes = (*joined.notes, *([note] if note else []), *order.notes)
    return replace(joined.take(order.rows), ts_init=order.ts_init, notes=notes)
