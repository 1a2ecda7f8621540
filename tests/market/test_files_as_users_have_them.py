"""Files as venues, spreadsheets and scripts leave them: read as meant, or refused with the remedy."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.bars.bars import Bars
from nautilus_torchserve.market.bars.load import load_bar_files, load_bars
from nautilus_torchserve.market.read_options import BadReadOption, ReadOptions
from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades

S = 1_704_067_200
"""2024-01-01T00:00:00Z."""
HEADER = "timestamp,open,high,low,close,volume\n"
AGG = [f"{at},100.5,0.{at},{at},{at},{S}{at:03d}000,true,True\n" for at in range(1, 9)]
AGG_NAME = "BTCUSDT-aggTrades-2024-01-01.csv"
TARDIS = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"


def minutes(count: int = 3, values: str = "1.5,1.75,1.25,1.5,7", start: int = S) -> str:
    return "".join(f"{start + 60 * at},{values}\n" for at in range(count))


def klines(*stamps: str) -> str:
    return "".join(f"{stamp},1.5,1.75,1.25,1.5,7,0,9,4,3,2,0\n" for stamp in stamps)


def daily(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


@dataclass(frozen=True)
class Case:
    """One file and what it is read as."""

    name: str
    text: str | bytes
    rows: int
    instrument: str
    given: str | None = None
    notes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


YAHOO = "Close,High,Low,Open,Volume"
DAY_ROWS = ["2024-01-02,1.5,1.75,1.25,1.5,7", "2024-01-03,1.5,1.75,1.25,1.6,9", "2024-01-04,1.5,1.75,1.25,1.6,9"]
BAR_CASES = {
    "milliseconds, then microseconds": Case(
        "BTCUSDT-1m-2024-12-31.csv",
        klines(f"{S}000", f"{S + 60}000", f"{S + 120}000000", f"{S + 180}000000"),
        4,
        "BTCUSDT.BINANCE",
    ),
    "one row in another unit": Case(
        "BTCUSDT-1m-2024-12-31.csv", klines(f"{S}000", f"{S + 60}000000", f"{S + 120}000"), 3, "BTCUSDT.BINANCE"
    ),
    "a symbol that is not ASCII": Case(
        "币安人生USDT-1m-2024-01.csv", klines(f"{S}000", f"{S + 60}000"), 2, "币安人生USDT.BINANCE"
    ),
    "three header lines": Case(
        "AAPL.csv",
        daily(f"Price,{YAHOO}", "Ticker,AAPL,AAPL,AAPL,AAPL,AAPL", "Date,,,,,", *DAY_ROWS),
        3,
        "AAPL.NASDAQ",
        "AAPL.NASDAQ",
        ("carry no offset",),
    ),
    "three header lines, several tickers": Case(
        "two.csv",
        daily(
            "Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume",
            "Ticker,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT",
            "Date,,,,,,,,,,",
            "2024-01-02,1.5,20,1.75,20,1.25,20,1.5,20,7,1",
            "2024-01-03,1.5,20,1.75,20,1.25,20,1.6,20,9,1",
            "2024-01-04,1.5,,1.75,,1.25,,1.6,,9,",
        ),
        3,
        "AAPL.NASDAQ",
        "AAPL.NASDAQ",
        ("carry no offset",),
    ),
    "an index without a name": Case("AAPL.csv", daily(f",{YAHOO}", *DAY_ROWS), 3, "AAPL.FILE", None, ("no offset",)),
    "a row of nulls": Case(
        "AAPL.csv",
        daily(f"Date,{YAHOO}", DAY_ROWS[0], "2024-01-03,null,null,null,null,null", *DAY_ROWS[1:]).replace(
            "-03,1", "-05,1"
        ),
        3,
        "AAPL.FILE",
        None,
        ("carry no offset", "1 of 4 bars have no prices and were left out, first in line 3", "sorted"),
    ),
    "several tickers": Case(
        "2024-01-01.csv",
        "ticker,volume,open,close,high,low,window_start,transactions\n"
        + "".join(
            f"{name},7,1.5,1.5,1.75,1.25,{S + 60 * at}000000000,1\n" for name in ("AAPL", "BRK.B") for at in (0, 1, 5)
        ),
        3,
        "BRK.B.NYSE",
        "BRK.B.NYSE",
    ),
    "byte order mark and CRLF": Case(
        "DAX.csv", "\ufeff" + (HEADER.title() + minutes()).replace("\n", "\r\n"), 3, "DAX.FILE"
    ),
    "a German spreadsheet": Case(
        "dax.csv",
        daily(
            "Datum;Eröffnung;Hoch;Tief;Schluss;Volumen",
            *(f"01.02.2024 9:0{at};17.000,50;17.001,75;16.990,25;17.000,50;1.007" for at in range(3)),
        ),
        3,
        "DAX.FILE",
        None,
        ("carry no offset",),
        {"date_order": "day-first"},
    ),
    "a spreadsheet in Windows-1252": Case(
        "dax.csv",
        daily(
            "Datum;Eröffnung;Hoch;Tief;Schluss;Volumen",
            *(f"31.01.2024 09:0{at};17,5;17,5;17,5;17,5;7" for at in (0, 1)),
        ).encode("cp1252"),
        2,
        "DAX.FILE",
        None,
        ("not UTF-8 and was read as Windows-1252", "carry no offset"),
    ),
    "a spreadsheet's first line": Case(
        "acme.csv", "sep=;\n" + (HEADER + minutes()).replace(",", ";"), 3, "ACME.FILE", None, ("before the header",)
    ),
    "spaces around cells": Case("acme.csv", (HEADER + minutes()).replace(",", " , "), 3, "ACME.FILE"),
    "UTF-16 with tabs": Case("dax.csv", (HEADER + minutes()).replace(",", "\t").encode("utf-16"), 3, "DAX.FILE"),
    "times of day in a column": Case(
        "ES.csv",
        daily("Date,Time,Open,High,Low,Close,Volume", *(f"12/31/2024,9:3{at},1.5,1.75,1.25,1.5,7" for at in (0, 1))),
        2,
        "ES.FILE",
        None,
        ("carry no offset",),
    ),
    "the newest first, below a URL": Case(
        "Bitstamp_BTCUSD_minute.csv",
        "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USD\n"
        + "".join(f"{S + 60 * at},x,BTC/USD,1.5,1.75,1.25,1.5,7,9\n" for at in (2, 1, 0)),
        3,
        "BTC/USD.BITSTAMP",
        None,
        ("line 1 .* stands before the header", "2 of 3 bars were not in order of time"),
    ),
    "no volume": Case(
        "EURUSD.csv",
        daily("timestamp,open,high,low,close", f"{S},1.1,1.2,1,1.1", f"{S + 60},1,1,1,1"),
        2,
        "EURUSD.FILE",
        None,
        ("has no column of volume; it is taken as 1",),
    ),
    "an empty volume": Case(
        "EURUSD.csv",
        HEADER + minutes(values="1.5,1.75,1.25,1.5,"),
        3,
        "EURUSD.FILE",
        None,
        ("has no volumes; they are",),
    ),
    "a volume of 0": Case(
        "EURUSD.csv",
        HEADER + minutes(values="1.5,1.75,1.25,1.5,0"),
        3,
        "EURUSD.FILE",
        None,
        ("volume of 0 in all 3 bars; it is taken as 1",),
    ),
    "a true crash": Case(
        "luna.csv",
        HEADER + minutes() + f"{S + 180},0.1,0.1,0.1,0.1,7\n",
        4,
        "LUNA.FILE",
        None,
        (),
        {"allow_jumps": True},
    ),
    "bars of seconds, some without volume": Case(
        "BTCUSDT-1s-2024-01-01.csv",
        klines(*(f"{S + at}000" for at in range(4))).replace(",7,", ",0,", 2),
        4,
        "BTCUSDT.BINANCE",
    ),
    "a recorder that restarted": Case(
        "acme.csv",
        HEADER + minutes() + minutes(2, start=S + 60),
        3,
        "ACME.FILE",
        None,
        ("2 of 5 rows repeat an earlier one and were left out",),
    ),
    "a coin of 1e-8 and volumes of 1e12": Case(
        "pepe.csv", HEADER + minutes(values="0.00000001,0.00000002,1e-08,0.00000001,1000000000000"), 3, "PEPE.FILE"
    ),
}
TRADE_CASES = {
    "a renamed file": Case(
        "sol march 1.csv",
        "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
        + f"1,100.5,0.1,1,1,{S}001000,true\n",
        1,
        "SOLUSDT.BINANCE",
        "SOLUSDT.BINANCE",
    ),
    "blocks out of order, and a trade twice": Case(
        AGG_NAME,
        "".join([*AGG[4:], *AGG[:4], AGG[2]]),
        8,
        "BTCUSDT.BINANCE",
        None,
        ("1 of 9 rows repeat an earlier one", "8 of 8 rows were not in order of time"),
    ),
    "no ids": Case(
        "k.csv",
        TARDIS + "".join(f"kraken,XBT/USD,{S}00{at}000,{S}00{at}500,,sell,60992.0,0.2\n" for at in (1, 2)),
        2,
        "XBT/USD.KRAKEN",
        None,
        ("2 of 2 trades have no id; the number of the row stands for it",),
    ),
    "an underscore and a hyphen": Case(
        "g.csv",
        TARDIS + f"gate-io,BTC_USDT,{S}001000,{S}001500,1,sell,60992.0,0.2\n",
        1,
        "BTC_USDT.GATE-IO",
        "BTC-USDT.GATE_IO",
    ),
    "an expiry in the name": Case(
        "BTCUSDT_240628-trades-2024-05-01.csv", f"0,61006.3,16.35,9,{S}046,True\n", 1, "BTCUSDT_240628.BINANCE"
    ),
    "receipt in another order than events": Case(
        "d.csv",
        TARDIS + f"deribit,X,{S}002000,{S}003000,2,buy,1.5,1\nderibit,X,{S}001000,{S}004000,1,sell,1.5,1\n",
        2,
        "X.DERIBIT",
        None,
        ("2 of 2 rows were not in order of time", "1 of 2 rows were received before an earlier"),
    ),
    "thousands in quotes": Case(
        "btc.csv", f'timestamp,id,price,size,side\n{S},7,"61,024.90","1,000",buy\n', 1, "BTC.X", "BTC.X"
    ),
}


def written(folder: Path, case: Case) -> Path:
    path = folder / case.name
    path.write_bytes(case.text if isinstance(case.text, bytes) else case.text.encode())
    return path


def check_case(case: Case, data: Bars | Trades) -> None:
    assert (len(data), data.instrument.instrument_id) == (case.rows, case.instrument)
    assert len(data.notes) == len(case.notes), data.notes
    for note, expected in zip(data.notes, case.notes, strict=True):
        assert re.search(expected, note), note


@pytest.mark.parametrize("case", BAR_CASES.values(), ids=BAR_CASES)
def test_bars_are_read_as_they_are_meant(tmp_path: Path, case: Case) -> None:
    bars = load_bars(written(tmp_path, case), 0, 0, case.given, read=ReadOptions(**case.options))

    check_case(case, bars)


@pytest.mark.parametrize("case", TRADE_CASES.values(), ids=TRADE_CASES)
def test_trades_are_read_as_they_are_meant(tmp_path: Path, case: Case) -> None:
    check_case(case, load(written(tmp_path, case), 0, 0, case.given, ReadOptions(**case.options)))


def test_order_and_repetition_leave_no_trace_in_the_data(tmp_path: Path) -> None:
    disordered = load(written(tmp_path, TRADE_CASES["blocks out of order, and a trade twice"]), 0, 0)
    (tmp_path / AGG_NAME).write_text("".join(AGG))

    in_order = load(tmp_path / AGG_NAME, 0, 0)

    assert disordered.sha256 == in_order.sha256
    assert disordered.place(0) == "line 5"


AMBIGUOUS = "which with --date-order day-first or --date-order month-first"
REFUSED = {
    "a date that could be two": (
        daily("Date;Open;High;Low;Close;Volume", "01.02.2024;1;1;1;1;1", "02.02.2024;1;1;1;1;1"),
        {},
        rf"line 2, column 'Date': expected a date whose day and month .*, got '01\.02\.2024'; say {AMBIGUOUS}",
    ),
    "dates in two orders": (
        daily("Date,Open,High,Low,Close,Volume", "13/01/2024,1,1,1,1,1", "01/14/2024,1,1,1,1,1"),
        {},
        f"expected dates in one order, got '13/01/2024'; say {AMBIGUOUS}",
    ),
    "a date that contradicts the order": (
        daily("Date,Open,High,Low,Close,Volume", "02/13/2024,1,1,1,1,1"),
        {"date_order": "day-first"},
        "line 2, column 'Date': expected a time like 2024-01-31",
    ),
    "numbers that could be two": (
        daily("Date;Open;High;Low;Close;Volume", "2024-01-01;17.012;17.012;17.012;17.012;7"),
        {},
        "line 2, column 'Open': expected a number whose comma or point has one meaning, got '17.012'; .* --decimal",
    ),
    "a point among decimal commas": (
        daily(
            "Date;Open;High;Low;Close;Volume", "2024-01-01;17,5;17.5;17,5;17,5;7", "2024-01-02;17,5;17,5;17,5;17,5;7"
        ),
        {},
        "line 2, column 'High': expected a number, got '17.5'",
    ),
    "a header without a close": (HEADER.replace("close", "end"), {}, "expected at least one bar, got only a header"),
    "prices below zero": (
        HEADER + minutes(2) + f"{S + 120},-1.5,-1.2,-1.7,-1.5,7\n",
        {},
        r"Non-positive price in 1 of 3 bars, first in line 4 .*shift or leave out",
    ),
    "a bar twice with other values": (
        HEADER + minutes(2) + f"{S + 60},1.5,1.75,1.25,1.6,7\n",
        {},
        r"line 4: expected one row for a time .remove the wrong one., got time 2024-01-01T00:01:00Z .* than line 3",
    ),
    "a line that is no bar": (
        HEADER + minutes(2) + "nonsense,1,1,1,1,7\n",
        {},
        "line 4, column 'timestamp': expected a number",
    ),
    "a time to come": (
        HEADER + minutes(2) + minutes(1, start=4_000_000_000),
        {},
        "line 4, column 'timestamp': expected a time of the past, got '4000000000'",
    ),
    "a row that was cut off": (
        "time,open,high,low,close,volume,count\n"
        + 2 * f"{S},1.5,1.75,1.25,1.5,7,3\n"
        + f"{S + 60},1.5,1.75,1.25,1.5,7",
        {},
        "line 4: expected 7 cells as in the first line, got 6; .* download the file again",
    ),
    "binary data": (b"\x00\x01\x02" * 9, {}, "expected a text file or Parquet, got binary data"),
    "a crash without --allow-jumps": (
        HEADER + minutes(2) + f"{S + 120},0.1,0.1,0.1,0.1,7\n",
        {},
        "pass --allow-jumps",
    ),
}


@pytest.mark.parametrize(("text", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_certain_is_refused_with_the_remedy(
    tmp_path: Path, text: str | bytes, options: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, Case("acme.csv", text, 0, ""))

    with pytest.raises(BadData, match=message) as error:
        load_bars(path, 0, 0, read=ReadOptions(**options))

    assert str(error.value).startswith("acme.csv: ")


def test_options_choose_between_readings(tmp_path: Path) -> None:
    dates = written(tmp_path, Case("acme.csv", REFUSED["a date that could be two"][0], 0, ""))
    first = {
        order: str(load_bar_files(dates, read=ReadOptions("close", date_order=order)).ts_event.astype("M8[ns]")[0])[:10]
        for order in ("day-first", "month-first")
    }
    assert first == {"day-first": "2024-02-01", "month-first": "2024-01-02"}

    rows = daily(
        "Date;Open;High;Low;Close;Volume", *(f"2024-01-0{day};17.012;17.012;17.012;17.012;7" for day in (1, 2))
    )
    numbers = written(tmp_path, Case("acme.csv", rows, 0, ""))
    read = {mark: load_bar_files(numbers, read=ReadOptions(decimal=mark)).prices()[0] for mark in ("point", "comma")}
    assert read == {"point": 17.012, "comma": 17012.0}
    with pytest.raises(BadReadOption, match=r"layout: expected one of trades, .*, got 'mine'"):
        load_bar_files(numbers, read=ReadOptions(layout="mine"))


def test_a_pair_of_contradicting_trades_is_refused(tmp_path: Path) -> None:
    path = tmp_path / AGG_NAME
    path.write_text("".join(AGG) + AGG[1].replace("100.5", "100.6"))

    with pytest.raises(
        BadData, match=r"line 9: expected one row for a trade id .*, got trade id 2 again .* than line 2"
    ):
        load(path, 0, 0)
