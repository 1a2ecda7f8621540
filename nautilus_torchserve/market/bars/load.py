"""Loading of bars from any source."""

import math
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nautilus_torchserve.market import local_time
from nautilus_torchserve.market.bars.aggregate import aggregate
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.checks import check_bars
from nautilus_torchserve.market.bars.simulator import MINUTE_NS, BarSimulatorConfig, simulate_bars
from nautilus_torchserve.market.csv_table import Table, Times, read_cells
from nautilus_torchserve.market.decimals import parse_decimals
from nautilus_torchserve.market.local_time import DAY_NS
from nautilus_torchserve.market.read_options import CsvLines, ReadOptions
from nautilus_torchserve.market.trades.trades import EXACT_INTEGERS, BadData, Instrument

TIME_COLUMNS = ("timestamp", "time", "date", "datetime", "open_time")
"""Accepted names of the column of times."""
PLAIN = ("timestamp", *PRICES, "volume")
"""The columns of a file of six without a header."""
KLINES = (
    *("open_time", *PRICES, "volume", "close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
"""The columns of Binance's klines, which have a header only in some years and markets."""
HOUR_NS = 3_600 * 10**9
FILE_NAME = re.compile(r"(?P<symbol>[A-Z0-9_]+)-\d+(?:s|m|h|d|w|mo)-\d{4}")
"""Pattern of Binance's kline file names: ``BTCUSDT-1m-2022-01.zip``."""
SUFFIXES = re.compile(r"(\.(csv|txt|gz|zip))+$", re.IGNORECASE)


def load_bars(
    data: Path | str | None,
    bars: int,
    seed: int,
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
        Number of bars to simulate.
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
    if instrument_id is not None and loaded_id != instrument_id:
        raise BadData(f"{loaded.source}: expected bars of {instrument_id}, got {loaded_id}")
    checked = check_bars(replace(loaded, read=read))
    return checked if interval_ns is None else check_bars(aggregate(checked, interval_ns))


def _from_path(path: Path, instrument_id: str | None, interval_ns: int | None, read: ReadOptions) -> Bars:
    if not path.exists():
        raise BadData(f"{path}: expected a CSV file or a catalog folder, got a path that does not exist")
    if path.is_file():
        return load_csv_bars(path, instrument_id, read)
    from nautilus_torchserve.market.bars.catalog import (
        load_catalog_bars,  # a host that only trains on files has no nautilus_trader
    )

    return replace(load_catalog_bars(path, instrument_id, interval_ns), catalog=path)


def load_csv_bars(
    path: Path,
    instrument_id: str | None = None,
    read: ReadOptions = ReadOptions(),  # noqa: B008, it is frozen
) -> Bars:
    """Read one file of bars of one instrument, plain, ``.gz`` or ``.zip``.

    A header names the columns, in any order and case: one of `TIME_COLUMNS`, open, high, low, close,
    volume and perhaps symbol; others are ignored. Without one, a file has the six of `PLAIN` or the
    twelve of `KLINES`. Times are ISO 8601, dates, or Unix s, ms, us or ns of the years 2000 to 2099. Those
    without an offset are of ``read.timezone``; without one they are taken as UTC, and the bars' notes say so.

    Parameters
    ----------
    path : Path
        The file.
    instrument_id : str, optional
        Instrument of the bars, ``BTC-PERP.DERIBIT``. May be omitted: it is taken from Binance's file names, else from
        a symbol column, else the file's name up to the first part that is not letters (``btc_perp_1m.csv`` is
        BTC-PERP.FILE). Must not contradict the first two.
    read : ReadOptions
        Taking an open for a close (``stamp``) would show every bar to a backtest before its time; the other way round
        costs one bar. A bar of days that is stamped at its open closes at the local midnight that ends it, so that a
        day on which clocks go back has 25 hours.

    Returns
    -------
    Bars
        Not checked yet: see `market.bars.checks`. Their interval is the most frequent time between
        neighbouring stamps. Prices are exact; their precision is the most decimals seen in any of the
        four, zeros at the end not counted. So are volumes, up to the decimals at which the file's total
        stays below 2**53 steps, and with it every sum of volumes exact in a float64; what is beyond, the
        noise of exporters that write binary floats (``218102.59507500002``), is rounded, and the notes
        say in how many bars.

    Raises
    ------
    BadData
        Naming file, line, column, what was expected and what it was.
    """
    table, lines = _read(path)
    time_column = _time_column(table)
    if read.stamp == "close" and time_column == "open_time":
        raise BadData(f"{path.name}: expected stamp='open' for a column 'open_time', got stamp='close'")
    stamps = table.times(time_column, "a time like 2024-01-31 or 2024-01-31T09:30:00Z", read.timezone)
    interval_ns = _interval_ns(table.name, stamps.utc_ns)
    ts_event, note_on_days = (
        (stamps.utc_ns, None) if read.stamp == "close" else _closes(table.name, stamps, interval_ns, read.timezone)
    )
    prices, price_precision = _prices(table)
    volume, size_precision, rounded = _volumes(table)
    note_on_volumes = (
        None
        if not rounded
        else (
            f"{path.name}: {rounded:,} of {len(volume):,} volumes had more than {size_precision} decimals, "
            "the noise of binary floats, and were rounded to these."
        )
    )
    symbol, venue = _instrument(table, path, instrument_id)
    return Bars(
        instrument=Instrument(symbol, venue, price_precision, size_precision),
        source=path.name,
        simulated=False,
        interval_ns=interval_ns,
        ts_event=ts_event,
        open=prices[0],
        high=prices[1],
        low=prices[2],
        close=prices[3],
        volume=volume,
        read=read,
        notes=tuple(note for note in (stamps.note, note_on_days, note_on_volumes) if note is not None),
        lines=lines,
    )


def _read(path: Path) -> tuple[Table, CsvLines]:
    cells, first, has_header, lines = read_cells(path, "bar")
    columns = [cell.lower() for cell in first] if has_header else _columns_of_row(path.name, first)
    if has_header:
        missing = [name for name in (*PRICES, "volume") if name not in columns]
        if missing:
            raise BadData(f"{path.name}: expected columns {missing} of bars, got a header of {first}")
        used = {*PRICES, "volume", "symbol", *TIME_COLUMNS}
        repeated = sorted({name for name in columns if name in used and columns.count(name) > 1})
        if repeated:
            raise BadData(f"{path.name}: expected every column once, got {repeated} repeatedly in a header of {first}")
    return Table(path.name, cells.set_axis(columns, axis=1), lines), lines


def _columns_of_row(name: str, row: list[str]) -> list[str]:
    for columns in (PLAIN, KLINES):
        if len(row) == len(columns):
            return list(columns)
    raise BadData(
        f"{name}: expected a header, or {len(PLAIN)} columns ({', '.join(PLAIN)}) or the {len(KLINES)} of Binance "
        f"klines, got {len(row)} without a header: {row}"
    )


def _time_column(table: Table) -> str:
    present = [name for name in TIME_COLUMNS if name in table.frame.columns]
    if len(present) != 1:
        got = " and ".join(present) if present else f"a header of {list(table.frame.columns)}"
        raise BadData(f"{table.name}: expected one column of times ({', '.join(TIME_COLUMNS)}), got {got}")
    return present[0]


def _interval_ns(name: str, stamps: NDArray[np.int64]) -> int:
    apart = np.abs(np.diff(stamps))  # also in a file with the newest bar first, which the checks refuse
    lengths, counts = np.unique(apart[apart > 0], return_counts=True)
    if not len(lengths):
        raise BadData(
            f"{name}: expected at least 2 bars of different times, to derive their interval, got {len(stamps)}"
        )
    return int(lengths[counts.argmax()])


def _closes(name: str, opened: Times, interval_ns: int, timezone: str | None) -> tuple[NDArray[np.int64], str | None]:
    """Return the closes of bars by their opens, Unix ns [n], and what was assumed.

    Where clocks change within a bar, an interval by the clock has another length. Bars of days run from midnight to
    midnight by the clocks of ``timezone``. Without one, and for bars of hours, a bar runs to the stamp of the next
    where that is one interval later by the clock.
    """
    utc_ns, offset_ns = opened.utc_ns, opened.offset_ns
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


def _prices(table: Table) -> tuple[NDArray[np.int64], int]:
    """Return the four prices int64 [4, n] in the same steps, and the decimals of these."""
    rows = len(table.frame)

    def refuse(row: int, expected: str, remedy: str = "") -> Exception:
        return table.refusal(PRICES[row // rows])(row % rows, expected, remedy)

    values, precision = parse_decimals(np.concatenate([table.texts(name) for name in PRICES]), refuse)
    return values.reshape(len(PRICES), rows), precision


def _volumes(table: Table) -> tuple[NDArray[np.int64], int, int]:
    """Return volumes int64 [n], their decimals, and how many had to be rounded to these."""
    texts = table.texts("volume")
    total = float(pd.to_numeric(table.frame["volume"], errors="coerce").abs().sum())
    most = max(math.floor(math.log10(EXACT_INTEGERS / max(total, 1.0))), 0) if math.isfinite(total) else 0
    finer = rf"-?\d*\.\d{{{most}}}\d*[1-9]\d*|-?\d+\.?\d*[eE]-\d+"  # zeros at the end are no decimals
    rounded = 0
    for row in np.flatnonzero(table.frame["volume"].str.fullmatch(finer, flags=re.ASCII).to_numpy()):
        exact = Decimal(texts[row])
        nearest = exact.quantize(Decimal(1).scaleb(-most))
        if nearest != exact:
            texts = texts.copy() if not rounded else texts
            texts[row] = f"{nearest:f}"
            rounded += 1
    values, precision = parse_decimals(texts, table.refusal("volume"))
    return values, precision, rounded


def _instrument(table: Table, path: Path, instrument_id: str | None) -> tuple[str, str]:
    """Return symbol and venue; see :func:`load_csv_bars` for the precedence of the sources."""
    given = None if instrument_id is None else _split(instrument_id)
    named = FILE_NAME.match(path.name)
    of_file = (named["symbol"], "BINANCE") if named else None
    if "symbol" in table.frame.columns:
        column = _of_symbol(table, venue=of_file[1] if of_file else given[1] if given else "FILE")
        if of_file and of_file != column:
            raise BadData(f"{table.name}: expected {of_file[0]} in column 'symbol', got {column[0]}")
        of_file = column
    if given and of_file and of_file != given:
        raise BadData(f"{table.name}: expected bars of {instrument_id}, got {'.'.join(of_file)}")
    return of_file or given or (_symbol_of_name(path.name), "FILE")


def _split(instrument_id: str) -> tuple[str, str]:
    symbol, _, venue = instrument_id.rpartition(".")
    if not (symbol and venue):
        raise BadData(f"expected an instrument like BTCUSDT.BINANCE, got {instrument_id!r}")
    return symbol, venue


def _of_symbol(table: Table, venue: str) -> tuple[str, str]:
    symbol = table.only_value("symbol").strip()
    if not symbol:
        raise table.refusal("symbol")(0, "a symbol")
    return (symbol, venue)


def _symbol_of_name(name: str) -> str:
    """Return the symbol of a file name: BTC-PERP for ``btc_perp_1m_2022-01.csv.gz``."""
    parts = re.split(r"[-_]", SUFFIXES.sub("", name))
    letters = next((i for i, part in enumerate(parts) if not (part.isascii() and part.isalpha())), len(parts))
    if not letters:
        raise BadData(f"{name}: expected an instrument_id, or a file name that begins with the symbol, got {name!r}")
    return "-".join(parts[:letters]).upper()
