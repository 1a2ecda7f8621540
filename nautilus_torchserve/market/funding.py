"""Rates that an open position costs: funding of perpetuals, and the annual cost of borrowing what is sold short."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.data_files import DataFile, require_files
from nautilus_torchserve.market.layouts.layout import Layout
from nautilus_torchserve.market.layouts.market_table import MarketTable, read_market_table, same_instrument, split_id
from nautilus_torchserve.market.layouts.rates import BORROW, FUNDING
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.trades import utc_text

HOUR_NS = 3_600 * 10**9
LARGEST_FUNDING = Decimal("0.1")
"""Venues cap a funding rate well below 10% of the value."""
LARGEST_ANNUAL = Decimal(10)
"""1,000% a year."""
NO_RATE = ("", "nan", "NaN", "null")


@dataclass(frozen=True, eq=False)
class Rates:
    """Rates of one instrument in order of time."""

    source: str
    """Name of the file or folder."""
    ts_ns: NDArray[np.int64]
    """When each is due or comes into force, Unix ns [n], increasing."""
    rates: Sequence[Decimal]
    """Shares of a position's value [n]: 0.0001 is 0.01%."""
    interval_ns: NDArray[np.int64]
    """Time since the payment before it, as the file says or as most of its times are apart [n]; 0 where unknown."""
    notes: tuple[str, ...]
    """What was assumed or left out in reading them, a sentence each."""

    def __len__(self) -> int:
        return len(self.ts_ns)


def load_funding(data: Path, instrument_id: str, is_only: bool, read: ReadOptions) -> Rates:
    """Load the funding rates of one instrument from files of any layout in `market.layouts.rates`.

    Parameters
    ----------
    data : path
        A file, an archive, a folder of these, or a glob.
    instrument_id : str
        Which instrument: ``BTCUSDT.BINANCE``. Only symbols are compared.
    is_only : bool
        Whether files that do not say which instrument they are of are of this one.
    read : ReadOptions
        Zone of times without an offset, and order of dates that end with the year.

    Raises
    ------
    BadData
        No rates of the instrument, unreadable ones, two different ones of one time, or one of 10% and above.
    """
    rates = _load(data, FUNDING, instrument_id, is_only, read)
    too_large = next((row for row, rate in enumerate(rates.rates) if abs(rate) >= LARGEST_FUNDING), None)
    if too_large is not None:
        raise BadData(
            f"{rates.source}: expected funding rates below {LARGEST_FUNDING} (0.0001 is 0.01% of a position's value), "
            f"got {rates.rates[too_large]} at {utc_text(rates.ts_ns[too_large])}; are they percentages?"
        )
    return rates


def symbols_of(data: Path, layouts: Sequence[Layout], read: ReadOptions) -> set[str]:
    """Return the symbols that files of rates say, or their names; none where they do not."""
    tables = [read_market_table(file, "rate", layouts, read) for file in _files(data, f"{layouts[0].kind} rates")]
    in_columns = [table.frame[table.columns["symbol"]].str.strip() for table in tables if "symbol" in table.columns]
    in_names = {table.layout.symbol_of(table.name) for table in tables if "symbol" not in table.columns}
    return set().union(*in_columns, in_names) - {""}


def load_borrow(borrow: str | Path, instrument_id: str, is_only: bool, read: ReadOptions) -> Rates:
    """Return an annual rate in force at all times, or load those of a file.

    Parameters
    ----------
    borrow : str or Path
        A number such as 0.03 for 3% a year, or a path as for `load_funding`.

    Raises
    ------
    BadData
        As `load_funding`; a rate is not between 0 and 10.
    """
    try:
        rate = Decimal(f"{borrow}")
    except InvalidOperation:
        rates = _load(Path(borrow), BORROW, instrument_id, is_only, read)
    else:
        rates = Rates("--borrow", np.zeros(1, dtype=np.int64), (rate,), np.zeros(1, dtype=np.int64), ())
    wrong = next((rate for rate in rates.rates if not (rate.is_finite() and 0 <= rate <= LARGEST_ANNUAL)), None)
    if wrong is not None:
        raise BadData(
            f"{rates.source}: expected annual borrow rates of 0 to {LARGEST_ANNUAL} (0.03 is 3% a year), got {wrong}"
        )
    return rates


def _load(data: Path, layouts: Sequence[Layout], instrument_id: str, is_only: bool, read: ReadOptions) -> Rates:
    what = f"{layouts[0].kind} rates"
    tables = [read_market_table(file, "rate", layouts, read) for file in _files(data, what)]
    parts = [table for table in (_of_instrument(table, instrument_id, is_only) for table in tables) if table]
    if not parts:
        raise BadData(f"{data.name}: expected {what} of {instrument_id}, got none; {_remedy(is_only)}")
    name = parts[0].name if len(parts) == 1 else data.name
    return _joined(name, [_read_rates(part, read) for part in parts])


def _files(data: Path, what: str) -> list[DataFile]:
    if not data.exists() and not any(character in data.name for character in "*?["):
        raise BadData(f"{data}: expected a file of {what}, a folder or an archive with such files, got no such path")
    return require_files(data, what)


def _remedy(is_only: bool) -> str:
    if is_only:
        return "the file names another instrument"
    return "in a run of several instruments a column symbol, or the file's name, says which one a rate is of"


def _of_instrument(table: MarketTable, instrument_id: str, is_only: bool) -> MarketTable | None:
    """Return the rows of an instrument, by the symbols that the file or its name says; None without any."""
    symbol = split_id(instrument_id)[0]
    if "symbol" in table.columns:
        cells = table.frame[table.columns["symbol"]].str.strip()
        rows = np.flatnonzero(cells.map(lambda cell: same_instrument(cell, symbol)).to_numpy(dtype=bool))
        return table.take(rows) if len(rows) else None
    if named := table.layout.symbol_of(table.name):
        return table if same_instrument(named, symbol) else None
    return table if is_only else None


def _read_rates(table: MarketTable, read: ReadOptions) -> tuple[pd.DataFrame, list[str]]:
    """Return ``ts_ns``, ``quoted_ns`` (0 where the rate is the one that was charged), ``interval_ns`` and ``rate`` of
    each row, and what was left out.
    """
    notes = list(table.notes)
    if "quoted" in table.columns:
        fields = [table.columns[field] for field in ("time", "rate")]
        missing = table.frame[fields].isin(NO_RATE).any(axis=1).to_numpy()
        if missing.all():
            raise BadData(f"{table.name}: expected rows with {' and '.join(fields)}, got none in {len(missing):,}")
        if missing.any():
            notes.append(f"{table.name}: {missing.sum():,} of {len(missing):,} rows lack {' or '.join(fields)}.")
        table = table.take(np.flatnonzero(~missing))
    times = table.field_times("time", read, distinct=False)
    (values,), precision, note = table.decimals(["rate"])
    notes += [text for text in (times.note, note) if text is not None]
    frame = pd.DataFrame({"ts_ns": times.utc_ns, "quoted_ns": 0, "interval_ns": 0})
    frame["rate"] = pd.Series([Decimal(int(value)).scaleb(-precision) for value in values], dtype=object)
    if "quoted" in table.columns:
        frame["quoted_ns"] = table.field_times("quoted", read, distinct=False).utc_ns
        frame = frame[frame["quoted_ns"] <= frame["ts_ns"]]
    if "interval" in table.columns:
        (hours,), decimals, _ = table.decimals(["interval"])
        frame["interval_ns"] = hours * HOUR_NS // 10**decimals
    return frame, notes


def _joined(source: str, parts: Sequence[tuple[pd.DataFrame, list[str]]]) -> Rates:
    """Return the rates of all files in order of time: of each time the one that was quoted last, and each once."""
    notes = [note for _, texts in parts for note in texts]
    frame = pd.concat([frame for frame, _ in parts]).sort_values(["ts_ns", "quoted_ns"], kind="stable")
    repeated = (frame["ts_ns"].diff() == 0) & (frame["quoted_ns"] == 0)
    differs = repeated & (frame["rate"] != frame["rate"].shift())
    if differs.any():
        row = int(differs.to_numpy().argmax())
        got = f"{frame['rate'].iloc[row - 1]} and {frame['rate'].iloc[row]}"
        raise BadData(
            f"{source}: expected one rate at {utc_text(frame['ts_ns'].iloc[row])}, got {got}; remove the wrong one"
        )
    if repeated.any():
        notes.append(f"{source}: {repeated.sum():,} of {len(frame):,} rates are repeated and count once.")
    frame = frame.drop_duplicates("ts_ns", keep="last")
    ts_ns, interval_ns = (frame[name].to_numpy(dtype=np.int64) for name in ("ts_ns", "interval_ns"))
    if len(ts_ns) > 1 and not interval_ns.any():
        interval_ns = np.full(len(ts_ns), int(np.median(np.diff(ts_ns))))
    return Rates(source, ts_ns, tuple(frame["rate"]), interval_ns, tuple(dict.fromkeys(notes)))
