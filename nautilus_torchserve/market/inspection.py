"""What market data files are recognised as, what is odd about them, and their first rows as read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.checks import examine
from nautilus_torchserve.market.bars.load import load_bar_files
from nautilus_torchserve.market.data_files import DataFile, require_files
from nautilus_torchserve.market.layouts.layout import Kind
from nautilus_torchserve.market.layouts.market_table import read_market_table
from nautilus_torchserve.market.layouts.table import ALL_LAYOUTS
from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.market.quotes.quotes import Quotes
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.load import load_files
from nautilus_torchserve.market.trades.trades import Trades, check, decimal_text, utc_text


@dataclass(frozen=True)
class InspectedFile:
    """What one file is recognised as."""

    file: str
    """Its name."""
    layout: str
    """Name of its layout, as ``--layout`` takes it."""
    title: str
    """Title of its layout."""
    kind: Kind
    """What a row is."""
    rows: int
    """Rows of all instruments."""
    decimal: str
    """Decimal mark of its numbers: ``point`` or ``comma``."""
    columns: dict[str, str]
    """Field of the layout -> the file's column."""


@dataclass(frozen=True)
class Inspection:
    """Result of `inspect_files`."""

    files: tuple[InspectedFile, ...]
    """The files, in order of their names."""
    instrument: str | None
    """The instrument; None where the data were refused."""
    rows: int
    """Rows of the instrument, after what the notes say was left out."""
    first: str | None
    """Time of the first one, ISO 8601 in UTC."""
    last: str | None
    """Time of the last one."""
    findings: tuple[str, ...]
    """What is odd or was assumed, a sentence each."""
    head: tuple[dict[str, str], ...]
    """The first rows: field -> value."""
    refused: str | None
    """Why the data cannot be used; None if they can."""


def inspect_files(data: Path, instrument_id: str | None, read: ReadOptions, rows: int = 5) -> Inspection:
    """Recognise files, read them, and list what is odd about them.

    Parameters
    ----------
    data : path
        A file, an archive or a folder of such files, or a glob.
    instrument_id : str, optional
        Which instrument; needed where the files have several or do not say.
    read : ReadOptions
        How to interpret what the files leave open, and whether jumps are let through.
    rows : int
        Number of first rows to return.

    Raises
    ------
    BadData
        There are no files, or one cannot be recognised.
    """
    files = tuple(_inspect_file(file, read) for file in require_files(data, "market data"))
    kinds = sorted({file.kind for file in files})
    if len(kinds) > 1:
        raise BadData(f"{data.name}: expected files of one kind, got {' and '.join(kinds)}")
    try:
        loaded, findings, refused = _LOADERS[kinds[0]](data, instrument_id, read)
    except BadData as error:
        return Inspection(files, None, 0, None, None, (), (), f"{error}")
    return Inspection(
        files=files,
        instrument=loaded.instrument.instrument_id,
        rows=len(loaded),
        first=utc_text(loaded.ts_event[0]),
        last=utc_text(loaded.ts_event[-1]),
        findings=tuple(findings),
        head=tuple(_row(loaded, row) for row in range(min(rows, len(loaded)))),
        refused=refused,
    )


def _inspect_file(file: DataFile, read: ReadOptions) -> InspectedFile:
    table = read_market_table(file, "row", ALL_LAYOUTS, read)
    layout = table.layout
    return InspectedFile(
        file.name, layout.name, layout.title, layout.kind, len(table.frame), table.mark, dict(table.columns)
    )


_Loaded = tuple[Any, list[str], str | None]
"""Data, what is odd about them, and why they cannot be used."""


def _load_bars(data: Path, instrument_id: str | None, read: ReadOptions) -> _Loaded:
    bars = load_bar_files(data, instrument_id, read)
    findings = examine(bars)
    fatal = " ".join(finding.sentence for finding in findings.fatal)
    return bars, findings.lines(), f"{bars.source}: {fatal}" if fatal else None


def _load_trades(data: Path, instrument_id: str | None, read: ReadOptions) -> _Loaded:
    trades = load_files(data, instrument_id, read)
    refused = None
    try:
        trades = check(trades)
    except BadData as error:
        refused = f"{error}"
    unknown = int((trades.side == 0).sum())
    sides = [f"{unknown:,} of {len(trades):,} trades have no known aggressor."] if unknown else []
    return trades, [*_times(trades), *sides, *trades.notes], refused


def _load_quotes(data: Path, instrument_id: str | None, read: ReadOptions) -> _Loaded:
    quotes = load_quotes(data, instrument_id, read)
    spread = quotes.ask_price - quotes.bid_price
    median = decimal_text(int(np.median(spread)), quotes.instrument.price_precision)
    locked = int((spread == 0).sum())
    spreads = f"Spread: median {median}, 0 in {locked:,} of {len(quotes):,} quotes."
    return quotes, [*_times(quotes), spreads, *quotes.notes], None


_LOADERS: dict[str, Callable[[Path, str | None, ReadOptions], _Loaded]] = {
    "bars": _load_bars,
    "trades": _load_trades,
    "quotes": _load_quotes,
}


def _times(data: Trades | Quotes) -> Iterator[str]:
    """Yield the longest break and the delay of receipt."""
    if len(data) > 1:
        gaps = np.diff(data.ts_event)
        row = int(gaps.argmax())
        yield f"Longest break: {gaps[row] / 1e9:,.3f} s, from {utc_text(data.ts_event[row])}, {data.place(row + 1)}."
    delay: NDArray[np.int64] = data.ts_init - data.ts_event
    if delay.any():
        yield f"Receipt after the event: median {np.median(delay) / 1e6:,.3f} ms, most {delay.max() / 1e6:,.3f} ms."


def _row(data: Bars | Trades | Quotes, row: int) -> dict[str, str]:
    """Return a row as text, prices and sizes as the decimals that they are."""
    price, size = data.instrument.price_precision, data.instrument.size_precision
    values = {"time": utc_text(data.ts_event[row])}
    of_prices: Sequence[str] = ("price",)
    of_sizes: Sequence[str] = ("size",)
    if isinstance(data, Bars):
        of_prices, of_sizes = PRICES, ("volume",)
    elif isinstance(data, Quotes):
        of_prices, of_sizes = ("bid_price", "ask_price"), ("bid_size", "ask_size")
    if not isinstance(data, Bars):
        values["received"] = utc_text(data.ts_init[row])
    values |= {name: decimal_text(getattr(data, name)[row], price) for name in of_prices}
    values |= {name: decimal_text(getattr(data, name)[row], size) for name in of_sizes}
    if isinstance(data, Trades):
        values |= {"side": f"{data.side[row]:+d}", "id": str(data.trade_id[row])}
    return values
