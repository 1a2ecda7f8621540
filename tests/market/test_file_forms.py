"""The same bars in other forms are the same bars; what is damaged or unclear is refused with its place."""

import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.bars.load import load_bar_files
from nautilus_torchserve.market.inspection import inspect_files
from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.load import load_files

S = 1_704_067_200
"""2024-01-01T00:00:00Z."""
HEADER = "timestamp,open,high,low,close,volume\n"
ROWS = [[S + 60 * at, "1.5", "1.75", "1.25", f"1.{at + 3}", str(at + 1)] for at in range(4)]
LINES = ["".join(",".join(map(str, row)) + "\n") for row in ROWS]
CSV = HEADER + "".join(LINES)
NAMES = HEADER.strip().split(",")
FRAME = pd.DataFrame(ROWS, columns=NAMES).astype(dict.fromkeys(NAMES[1:], float))
MS = [[row[0] * 1_000, *map(float, row[1:])] for row in ROWS]


def timed(times: list[str]) -> str:
    """Return the file with times as text."""
    return HEADER + "".join(f'"{time}",{",".join(row[1:])}\n' for time, row in zip(times, ROWS, strict=True))


def of_columns(*names: str, extra: str = "") -> str:
    """Return the file under other names of its columns."""
    return ",".join(names) + "\n" + "".join(line.rstrip() + f"{extra}\n" for line in LINES)


def arrow_stream(path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.Table.from_pandas(FRAME)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def float32(path: Path) -> None:
    pytest.importorskip("pyarrow")
    FRAME.astype(dict.fromkeys(NAMES[1:], "float32")).to_parquet(path)


def zoned_index(path: Path) -> None:
    pytest.importorskip("pyarrow")
    times = pd.to_datetime(FRAME["timestamp"], unit="s", utc=True).dt.tz_convert("America/New_York")
    FRAME.set_index(times).drop(columns="timestamp").to_parquet(path)


FORMS: dict[str, tuple[str, str | Callable[[Path], None]]] = {
    "ccxt's lists": ("acme.json", json.dumps(MS)),
    "Binance's klines as its API returns them": (
        "BTCUSDT.json",
        json.dumps([[row[0] * 1_000, *row[1:], row[0] * 1_000 + 59_999, "9", 4, "3", "2", "0"] for row in ROWS]),
    ),
    "objects": ("acme.json", json.dumps([dict(zip(NAMES, row, strict=True)) for row in ROWS])),
    "an object a line": ("acme.jsonl", "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in ROWS)),
    "names in camel case": (
        "BTCUSDT.csv",
        of_columns("openTime", *NAMES[1:], "closeTime", "Quote asset volume", extra=",9,9"),
    ),
    "names of one letter": ("acme.csv", of_columns(*"tohlcv")),
    "Kaggle's minutes of Bitcoin": (
        "bitstampUSD_1-min.csv",
        of_columns(
            "Timestamp", "Open", "High", "Low", "Close", "Volume_(BTC)", "Volume_(Currency)", extra=",9"
        ).replace(f"\n{S},", f"\n{S - 60},NaN,NaN,NaN,NaN,NaN,NaN\n{S},"),
    ),
    "the volume in the quote currency first": (
        "acme.csv",
        HEADER.replace("volume", "Volume USD,Volume BTC")
        + "".join(",".join(map(str, [*row[:5], 9, row[5]])) + "\n" for row in ROWS),
    ),
    "a Unix time and the same as text": (
        "acme.csv",
        HEADER.replace("open", "datetime,open")
        + "".join(f"{row[0]},2024-01-01 00:00:00,{','.join(row[1:])}\n" for row in ROWS),
    ),
    "a close and a last price": ("acme.csv", of_columns(*NAMES, "last", extra=",9.5")),
    "a price instead of a close": ("acme.csv", of_columns("Time", "Open", "High", "Low", "Last", "Volume")),
    "a date and a time without a header": (
        "acme.txt",
        "".join(f"01/31/2024,00:0{at},{','.join(row[1:])}\n" for at, row in enumerate(ROWS)),
    ),
    "twelve hours": ("acme.csv", timed([f"1/31/2024 12:0{at} AM" for at in range(4)])),
    "names of months": ("acme.csv", timed([f"31-Jan-2024 00:0{at}" for at in range(4)])),
    "an English date": ("acme.csv", timed([f"Jan 31, 2024 0:0{at}" for at in range(4)])),
    "UTC in letters": ("acme.csv", timed([f"2024-01-01 00:0{at}:00 UTC" for at in range(4)])),
    "files that were joined": ("acme.csv", HEADER + "".join(LINES[:2]) + "\ufeff" + HEADER + "".join(LINES[2:])),
    "mixed ends of lines": ("acme.csv", CSV.replace("\n", "\r\n", 2)),
    "an Arrow stream": ("acme.arrow", arrow_stream),
    "floats of 32 bits": ("acme.parquet", float32),
    "an index in another zone": ("acme.parquet", zoned_index),
}


@pytest.mark.parametrize("form", FORMS)
def test_bars_in_another_form_are_the_same_bars(tmp_path: Path, form: str) -> None:
    name, content = FORMS[form]
    path = tmp_path / name
    path.write_text(content, newline="") if isinstance(content, str) else content(path)

    bars = load_bar_files(path, "ACME.FILE" if "BTCUSDT" not in name else None)

    values = [bars.prices(of) for of in ("open", "high", "low", "close")] + [bars.volumes()]
    expected = [[float(row[at]) for row in ROWS] for at in range(1, 6)]
    assert [value.tolist() for value in values] == expected
    day_ns = 86_400 * 10**9
    assert ((bars.ts_event - 60 * 10**9) % day_ns).tolist() == [60 * 10**9 * at for at in range(4)]


def zipped(**members: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.csv", text)
    return content.getvalue()


def encrypted() -> bytes:
    content = bytearray(zipped(acme=CSV))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def damaged_page() -> bytes:
    pytest.importorskip("pyarrow")
    content = io.BytesIO()
    frame = pd.DataFrame({name: np.arange(3_000.0) for name in NAMES})
    frame.to_parquet(content, compression=None, write_page_checksum=True)
    damaged = bytearray(content.getvalue())
    damaged[30_000] ^= 0x10
    return bytes(damaged)


DAMAGES: dict[str, tuple[str, str | bytes | Callable[[], bytes], str]] = {
    "a row too long": ("acme.csv", CSV.replace("1.4,2\n", "1.4,2,9\n"), "line 3: expected 6 cells .*, got 7"),
    "a footer": ("acme.csv", CSV + "Total,,,,,10\n", "line 6, column 'timestamp': expected a number, got 'Total'"),
    "a quote that is not closed": ("acme.csv", CSV.replace("1.5", '"1.5', 1), "line 2: expected 6 cells"),
    "a NUL far behind": ("acme.csv", CSV + LINES[3] * 4_000 + "\0", "got binary data"),
    "a Unicode minus": ("acme.csv", CSV.replace("1.25", "\u22121.25", 1), "line 2, column 'low': expected a number"),
    "Arabic digits": ("acme.csv", CSV.replace("1.25", "\u0661.25", 1), "line 2, column 'low': expected a number"),
    "an infinite price": ("acme.csv", CSV.replace("1.25", "inf", 1), "line 2, column 'low': expected a number"),
    "one price missing": ("acme.csv", CSV.replace("1.25", "NaN", 1), "line 2, column 'low': expected a number"),
    "years of two digits": ("acme.csv", timed([f"01/{at}/24" for at in range(15, 19)]), "line 2, .*got '01/15/24'"),
    "days of a spreadsheet": ("acme.csv", timed(["45306", "45307", "45308", "45309"]), "line 2, .*got '45306'"),
    "a leap second": ("acme.csv", timed(["2016-12-31T23:59:60Z"] * 4), "line 2, .*23:59:60Z"),
    "13 PM": ("acme.csv", timed(["1/31/2024 13:30 PM"] * 4), "line 2, .*13:30 PM"),
    "a zone by its letters": ("acme.csv", timed(["2024-01-15 09:30 EST"] * 4), "line 2, .*EST"),
    "a column twice": ("acme.csv", of_columns(*NAMES, "close", extra=",9"), "one column of close"),
    "a web page": ("acme.csv", "<!DOCTYPE html><html>404</html>", "got '<!DOCTYPE', the start of a file of another"),
    "a spreadsheet": ("acme.xlsx", zipped(sheet="x"), "save a spreadsheet as CSV"),
    "an archive with a password": ("acme.zip", encrypted, "is encrypted"),
    "two kinds of data": (
        "a.zip",
        zipped(a=CSV, b=f"timestamp,price,size\n{S},1,2\n"),
        "one kind, got bars and trades",
    ),
    "a damaged page": ("acme.parquet", damaged_page, "CRC checksum"),
    "a list with a short row": ("acme.json", json.dumps([MS[0], MS[1][:5]]), "row 2: expected 6 values as in row 1"),
    "a name twice": ("acme.json", '[{"time": 1, "open": 1, "open": 2}]', "every name of an object once"),
    "an answer around the rows": ("acme.json", json.dumps({"result": {"list": MS}}), "save its list of rows alone"),
    "JSON that was cut off": ("acme.json", json.dumps(MS)[:-9], "expected JSON"),
    "a date beside a time that has no name": (
        "acme.csv",
        "date,clock,bid,ask\n2024-01-15,9:30:00.5,1.5,1.6\n",
        "got the date '2024-01-15' beside '9:30:00.5' in column 'clock'",
    ),
    "a date beside a time under another name": (
        "acme.csv",
        "date,datetime,bid,ask\n2024-01-15,2024-01-15 09:30:00,1.5,1.6\n",
        "got the date '2024-01-15' beside '2024-01-15 09:30:00' in column 'datetime'",
    ),
    "sizes under unknown names": (
        "acme.csv",
        f"time,bid,ask,bid lot size,ask lot size\n{S},1.5,1.6,3,4\n",
        "expected a column of bid_size .*got .*'bid lot size'",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_unclear_file_is_refused_with_its_place(tmp_path: Path, damage: str) -> None:
    name, content, reason = DAMAGES[damage]
    path = tmp_path / name
    content = content() if callable(content) else content
    path.write_bytes(content.encode() if isinstance(content, str) else content)

    try:
        outcome = inspect_files(path, None, ReadOptions()).refused or "read"
    except BadData as error:
        outcome = str(error)

    assert outcome.startswith(f"{name}: ")
    assert re.search(reason, outcome), outcome


def test_quotes_with_a_volume_of_an_unknown_zone_are_not_taken_for_those_of_histdata(tmp_path: Path) -> None:
    path = tmp_path / "eurusd.csv"
    path.write_text("timestamp,bid,ask,bid_volume,ask_volume\n2024-01-01 00:00:00.123,1.4,1.6,2,4\n")

    quotes = load_quotes(path, "EURUSD.X")

    assert quotes.ts_event.tolist() == [S * 10**9 + 123_000_000]
    path.write_text("timestamp,bid,ask,volume\n2024-01-01 00:00:00.123,1.4,1.6,0\n")
    with pytest.raises(BadData, match="expected a column of bid_size"):
        load_quotes(path, "EURUSD.X")


def test_archives_folders_and_globs_are_the_files_in_them(tmp_path: Path) -> None:
    plain, dumps = tmp_path / "plain", tmp_path / "my dumps"
    plain.mkdir(), dumps.mkdir()
    days = [f"1,1.5,7,10.5,{S}123,False\n", f"2,1.5,7,10.5,{S + 86_400}123,False\n"]
    names = [f"BTCUSDT-trades-{day}.csv" for day in ("2024-01-01", "2024-01-02")]
    for name, text in zip(names, days, strict=True):
        (plain / name).write_text(text)
    with zipfile.ZipFile(dumps / "both.zip", "w") as archive:
        for name, text in zip(names, days, strict=True):
            archive.writestr(f"data/{name}", text)
        archive.writestr("__MACOSX/data/._x.csv", "x")
        archive.writestr("data/README.md", "x")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / f"{names[0]}.gz").write_bytes(gzip.compress(days[0].encode()))
    (tmp_path / "mixed" / names[1]).write_text(days[1])
    (tmp_path / "mixed" / f"{names[1]}.CHECKSUM").write_text("x")
    (plain / ".BTCUSDT-trades.csv").write_text("x")
    (tmp_path / "renamed").mkdir()
    (tmp_path / "renamed" / names[0]).write_bytes(gzip.compress(days[0].encode()))
    (tmp_path / "renamed" / f"{names[1]}.gz").write_text(days[1])

    expected = load_files(plain).sha256

    assert len(load_files(plain)) == 2
    (plain / "ETHUSDT-trades-2024-01-01.csv").write_text(days[0])
    with pytest.raises(BadData, match=r"one instrument, got BTCUSDT\.BINANCE, ETHUSDT\.BINANCE; name one"):
        load_files(plain)
    assert load_files(plain, "BTCUSDT.BINANCE").sha256 == expected
    assert load_files(plain / "*", "BTCUSDT.BINANCE").sha256 == expected
    with pytest.raises(BadData, match=r"expected trades of SOLUSDT\.BINANCE, got ETHUSDT\.BINANCE"):
        load_files(plain, "SOLUSDT.BINANCE")
    for data in (
        dumps,
        dumps / "both.zip",
        tmp_path / "mixed",
        tmp_path / "renamed",
        plain / "BTCUSDT-trades-*.csv",
        tmp_path / "pla*/BTC*.csv",
    ):
        assert load_files(data).sha256 == expected


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_columnar_files_have_the_same_columns(tmp_path: Path, suffix: str) -> None:
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "timestamp": pd.to_datetime([S, S + 60], unit="s", utc=True),
            "open": [1.5, 1.6],
            "high": [1.75, 1.7000000000000002],
            "low": [1.25, 1.5],
            "close": [1.6, 1.5],
            "volume": pa.array([7, 9]).to_pandas(),
        }
    )
    path = tmp_path / f"acme{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_feather(path)
    csv = tmp_path / "acme.csv"
    csv.write_text(f"timestamp,open,high,low,close,volume\n{S},1.5,1.75,1.25,1.6,7\n{S + 60},1.6,1.7,1.5,1.5,9\n")

    renamed = tmp_path / "renamed" / "acme.csv"
    renamed.parent.mkdir()
    renamed.write_bytes(path.read_bytes())

    bars = load_bar_files(path)

    assert bars.sha256 == load_bar_files(csv).sha256 == load_bar_files(renamed).sha256
    assert bars.notes == (
        f"acme{suffix}: 1 of 8 numbers in open, high, low, close had the noise of binary floats and "
        "were rounded to 15 digits.",
    )
