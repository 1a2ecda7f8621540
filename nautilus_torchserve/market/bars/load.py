"""Loading of bars from any source."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nautilus_torchserve.market import local_time
from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.bars.aggregate import aggregate
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.checks import check_bars
from nautilus_torchserve.market.bars.simulator import MINUTE_NS, BarSimulatorConfig, simulate_bars
from nautilus_torchserve.market.data_files import DataFile, FileRows, is_catalog, require_files
from nautilus_torchserve.market.decimal_marks import with_point
from nautilus_torchserve.market.decimals import parse_decimals
from nautilus_torchserve.market.layouts.bars import BARS
from nautilus_torchserve.market.layouts.market_table import (
    MarketTable,
    choose_instrument,
    read_market_table,
    read_parts,
    same_instrument,
)
from nautilus_torchserve.market.local_time import DAY_NS
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.row_order import repeated_rows
from nautilus_torchserve.market.steps import common_steps
from nautilus_torchserve.market.trades.trades import EXACT_INTEGERS, Instrument, utc_text

MISSING = ("", "null", "nan", "none", "n/a", "na")
"""Cells of a bar that is not there, in lower case."""
HOUR_NS = 3_600 * 10**9


def load_bars(
    data: Path | str | None,
    bars: int = 0,
    seed: int = 1,
    instrument_id: str | None = None,
    interval_ns: int | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008, it is frozen
) -> Bars:
    """Load bars of one instrument, check them, and aggregate them to ``interval_ns``.

    Findings that are not fatal, such as breaks, are not reported here: see
    `market.bars.checks.examine`.

    Parameters
    ----------
    data : path, optional
        A folder is a NautilusTrader catalog, a file is a CSV; None simulates.
    bars : int
        Number of bars to simulate, without data.
    seed : int
        Seed of the simulation.
    instrument_id : str, optional
        The instrument to read from a catalog, or that of a CSV without a name; other data
        must be of this instrument.
    interval_ns : int, optional
        Interval of the bars to return, a multiple of the stored one; None keeps the stored one (and
        simulates minutes).
    read : ReadOptions
        How to interpret times, and whether prices may jump; see
        `market.bars.load`.

    Raises
    ------
    BadData
        No data, unreadable data, another instrument, fatal findings (`market.bars.checks`), or an
        interval that is no multiple of the stored one.
    """
    if data is None:
        loaded = simulate_bars(bars, seed, BarSimulatorConfig(interval_ns=interval_ns or MINUTE_NS))
    else:
        loaded = _from_path(Path(data), instrument_id, interval_ns, read)
    loaded_id = loaded.instrument.instrument_id
    if instrument_id is not None and not same_instrument(loaded_id, instrument_id):
        raise BadData(f"{loaded.source}: expected bars of {instrument_id}, got {loaded_id}")
    checked = check_bars(replace(loaded, read=read))
    return checked if interval_ns is None else check_bars(aggregate(checked, interval_ns))


def _from_path(path: Path, instrument_id: str | None, interval_ns: int | None, read: ReadOptions) -> Bars:
    if not is_catalog(path):
        return load_bar_files(path, instrument_id, read)
    from nautilus_torchserve.market.bars.catalog import (
        load_catalog_bars,  # a host that only trains on files has no nautilus_trader
    )

    return replace(load_catalog_bars(path, instrument_id, interval_ns, read.price_type), catalog=path)


def load_bar_files(
    data: Path,
    instrument_id: str | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008, it is frozen
) -> Bars:
    """Read the bars of one instrument from files of any layout in `market.layouts.bars`.

    Times are ISO 8601, dates in any clear order, or Unix s, ms, us or ns of the years 2000 to 2099. Those
    without an offset are of ``read.timezone``, else of the zone that the layout documents; without one they are taken
    as UTC, and the bars' notes say so. Bars are sorted by time, a repeated one is taken once, and one without any price
    is left out; the notes say how many.

    Parameters
    ----------
    data : path
        A file, an archive or a folder of such files, or a glob; several files are joined in time.
    instrument_id : str, optional
        Instrument of the bars, ``BTC-PERP.DERIBIT``. May be omitted where a column or the file's name, as the layout
        has it, say one; else the symbol is the file's name up to the first part that is not letters
        (``btc_perp_1m.csv`` is BTC-PERP.FILE). Must not contradict the first two.
    read : ReadOptions
        Taking an open for a close (``stamp``) would show every bar to a backtest before its time; the other way round
        costs one bar. A bar of days that is stamped at its open closes at the local midnight that ends it, so that a
        day on which clocks go back has 25 hours.

    Returns
    -------
    Bars
        Not checked yet: see `market.bars.checks`. Their interval is that of a column, else the most frequent time
        between neighbouring stamps. Prices are exact; their precision is the most decimals seen in any of the
        four, zeros at the end not counted. So are volumes, up to the decimals at which the file's total
        stays below 2**53 steps, and with it every sum of volumes exact in a float64; what is beyond, the
        noise of exporters that write binary floats (``218102.59507500002``), is rounded, and the notes
        say in how many bars. Files without volumes have a volume of 1 in every bar, which the notes say.

    Raises
    ------
    BadData
        Naming file, line, column, what was expected and what it was.
    """
    parts = read_parts(require_files(data, "bars"), lambda file: _read_file(file, instrument_id, read))
    return _joined(parts, data.name, read)


def _read_file(file: DataFile, instrument_id: str | None, read: ReadOptions) -> tuple[Bars, NDArray[np.int64] | None]:
    """Return the bars of a file with their stamps as ``ts_event``, and the offsets of these from UTC."""
    table = read_market_table(file, "bar", BARS, read)
    if table.layout.stamp == "open" and read.stamp == "close":
        raise BadData(
            f"{file.name}: expected --stamp open, as {table.layout.title} are stamped when they open, got --stamp close"
        )
    table, symbol, venue = choose_instrument(table, instrument_id)
    stamps = table.field_times("time", read, distinct=True)  # also of bars without prices: what has no time is no bar
    priced, note_on_empty = _priced(table)
    table = table.take(priced)
    prices, price_precision, note_on_prices = table.prices(PRICES)
    volume, size_precision, note_on_volumes = _volumes(table)
    notes = (*table.notes, stamps.note, note_on_empty, note_on_prices, note_on_volumes)
    bars = Bars(
        instrument=Instrument(symbol, venue, price_precision, size_precision),
        source=file.name,
        simulated=False,
        interval_ns=_stated_interval_ns(table),
        ts_event=stamps.utc_ns[priced],
        open=prices[0],
        high=prices[1],
        low=prices[2],
        close=prices[3],
        volume=volume,
        read=read,
        notes=tuple(note for note in notes if note is not None),
        lines=table.lines,
    )
    return bars, None if stamps.offset_ns is None else stamps.offset_ns[priced]


def _stated_interval_ns(table: MarketTable) -> int:
    """Return the interval that a column of the file states, 0 without one."""
    if "interval" not in table.columns:
        return 0
    column, intervals_s = table.columns["interval"], table.layout.intervals_s
    code = table.only_value(column)
    if code not in intervals_s:
        raise table.refusal(column)(0, f"one of {', '.join(intervals_s)}")
    return intervals_s[code] * 10**9


def _interval_ns(name: str, parts: Sequence[Bars], stamps: NDArray[np.int64]) -> int:
    """Return the interval that the files state, else the most frequent time between neighbouring stamps."""
    stated = sorted({bars.interval_ns for bars in parts})
    if len(stated) > 1:
        got = " and ".join(f"{interval_ns / 1e9:g} s" for interval_ns in stated)
        raise BadData(f"{name}: expected bars of one interval, got {got}")
    if stated[0]:
        return stated[0]
    lengths, counts = np.unique(np.diff(stamps), return_counts=True)
    if not len(lengths):
        raise BadData(
            f"{name}: expected at least 2 bars of different times, to derive their interval, got {len(stamps)}"
        )
    return int(lengths[counts.argmax()])


def _closes(
    name: str, utc_ns: NDArray[np.int64], offset_ns: NDArray[np.int64] | None, interval_ns: int, timezone: str | None
) -> tuple[NDArray[np.int64], str | None]:
    """Return the closes of bars by their opens, Unix ns [n], and what was assumed.

    Where clocks change within a bar, an interval by the clock has another length. Bars of days run from midnight to
    midnight by the clocks of ``timezone``. Without one, and for bars of hours, a bar runs to the stamp of the next
    where that is one interval later by the clock.
    """
    closes = utc_ns + interval_ns
    if offset_ns is None or interval_ns <= HOUR_NS:
        return closes, None
    if timezone is not None and interval_ns % DAY_NS == 0:
        is_local = offset_ns == local_time.offsets_ns(utc_ns, timezone)  # a day in UTC has 24 hours everywhere
        opens = (utc_ns + offset_ns)[is_local].astype("datetime64[ns]")
        ends = local_time.day_starts(opens, utc_ns[is_local], timezone) + np.timedelta64(interval_ns, "ns")
        closes[is_local] = local_time.day_bounds(ends, timezone, end=True)
        return closes, None
    changes = offset_ns[1:] != offset_ns[:-1]
    by_clock_ns = np.diff(utc_ns + offset_ns)
    closes[:-1] = np.where(changes & (by_clock_ns == interval_ns), utc_ns[1:], closes[:-1])
    open_ended = int((changes & (by_clock_ns > interval_ns)).sum())
    if not open_ended or timezone is not None:
        return closes, None
    return closes, (
        f"{name}: {open_ended:,} bars before a break in which the offset from UTC changed are taken to have closed "
        f"{interval_ns / 1e9:g} s after their open; --timezone says when exactly."
    )


def _priced(table: MarketTable) -> tuple[NDArray[np.int64], str | None]:
    """Return the rows that have a price, and a note on others: Yahoo writes ``null`` for a day that it lacks."""
    prices = [table.frame[table.columns[name]].str.lower() for name in PRICES]
    empty = np.logical_and.reduce([price.isin(MISSING).to_numpy() for price in prices])
    rows = np.flatnonzero(~empty)
    if not empty.any():
        return rows, None
    if empty.all():
        raise BadData(f"{table.name}: expected bars with prices, got none in {len(empty):,} rows")
    note = (
        f"{table.name}: {empty.sum():,} of {len(empty):,} bars have no prices and were left out, first in "
        f"{table.place(int(empty.argmax()))}."
    )
    return rows, note


def _volumes(table: MarketTable) -> tuple[NDArray[np.int64], int, str | None]:
    """Return volumes int64 [n], their decimals, and a note where they are not what the file says."""
    rows = len(table.frame)
    if "volume" not in table.columns:
        return (
            np.ones(rows, dtype=np.int64),
            0,
            f"{table.name}: has no column of volume; it is taken as 1 in every bar.",
        )
    column = table.columns["volume"]
    texts = with_point(table.texts(column), table.mark)
    if not any(texts):
        return np.ones(rows, dtype=np.int64), 0, f"{table.name}: has no volumes; they are taken as 1 in every bar."
    cells = pd.Series(texts)
    total = float(pd.to_numeric(cells, errors="coerce").abs().sum())
    most = max(math.floor(math.log10(EXACT_INTEGERS / max(total, 1.0))), 0) if math.isfinite(total) else 0
    finer = rf"-?\d*\.\d{{{most}}}\d*[1-9]\d*|-?\d+\.?\d*[eE]-\d+"  # zeros at the end are no decimals
    rounded = 0
    for row in np.flatnonzero(cells.str.fullmatch(finer, flags=re.ASCII).to_numpy()):
        exact = Decimal(texts[row])
        nearest = exact.quantize(Decimal(1).scaleb(-most))
        if nearest != exact:
            texts = texts.copy() if not rounded else texts
            texts[row] = f"{nearest:f}"
            rounded += 1
    values, precision = parse_decimals(texts, table.refusal(column))
    if not values.any():
        note = f"{table.name}: has a volume of 0 in all {rows:,} bars; it is taken as 1 in every bar."
        return np.ones(rows, dtype=np.int64), 0, note
    if not rounded:
        return values, precision, None
    return (
        values,
        precision,
        f"{table.name}: {rounded:,} of {rows:,} volumes had more than {precision} decimals, the noise of binary "
        "floats, and were rounded to these.",
    )


def _joined(parts: Sequence[tuple[Bars, NDArray[np.int64] | None]], source: str, read: ReadOptions) -> Bars:
    """Return the bars of all files, each once and in order of time, in the finest steps of any."""
    all_bars = [bars for bars, _ in parts]
    name = all_bars[0].source if len(parts) == 1 else source
    columns = {**dict.fromkeys(PRICES, "price"), "volume": "size"}
    instrument, steps = common_steps(name, all_bars, columns)
    stamps = np.concatenate([bars.ts_event for bars in all_bars])
    has_offset = any(offset_ns is not None for _, offset_ns in parts)
    offsets = np.concatenate([np.zeros(len(bars)) if offset is None else offset for bars, offset in parts])
    rows = [bars.lines for bars in all_bars if bars.lines is not None]
    joined = replace(
        all_bars[0],
        instrument=instrument,
        source=name,
        ts_event=stamps,
        notes=tuple(note for bars in all_bars for note in bars.notes),
        lines=FileRows.concat(rows) if len(rows) == len(parts) else None,
        **steps,
    )
    keys = np.array([utc_text(stamp) for stamp in stamps]) if len(np.unique(stamps)) < len(stamps) else stamps
    repeated, note = repeated_rows(joined, keys, pd.DataFrame(steps), "time")
    kept = np.flatnonzero(~repeated)
    order = kept[np.argsort(stamps[kept], kind="stable")]
    notes = [*joined.notes, *([note] if note else [])]
    if moved := int((order != kept).sum()):
        notes.append(f"{name}: {moved:,} of {len(kept):,} bars were not in order of time and were sorted.")
    joined = joined.take(order)
    interval_ns = _interval_ns(name, all_bars, joined.ts_event)
    if read.stamp == "close":
        return replace(joined, interval_ns=interval_ns, notes=tuple(notes))
    offset_ns = offsets[order].astype(np.int64) if has_offset else None
    closes, note = _closes(name, joined.ts_event, offset_ns, interval_ns, read.timezone)
    return replace(joined, interval_ns=interval_ns, ts_event=closes, notes=(*notes, *([note] if note else [])))
