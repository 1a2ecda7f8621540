import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nautilus_torchserve.market.bars.bars import PRICES
from nautilus_torchserve.market.bars.checks import check_bars, examine
from nautilus_torchserve.market.bars.load import load_bar_files
from nautilus_torchserve.market.read_options import BadReadOption, ReadOptions
from nautilus_torchserve.market.trades.trades import BadData
from support import REAL_DATA

REAL = REAL_DATA / "btc_perp_1m_2022-01.csv.gz"
T_S = 1_704_067_200
"""2024-01-01T00:00:00Z."""
MINUTE_NS = 60 * 10**9
CLOSES = [T_S * 10**9 + MINUTE_NS, T_S * 10**9 + 2 * MINUTE_NS, T_S * 10**9 + 3 * MINUTE_NS]
"""When the three bars of a file with stamps of the open from `T_S` on close."""

KLINES_HEADER = (
    "open_time,open,high,low,close,volume,close_time,"
    "quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
)
NAME = "BTCUSDT-1m-2024-01.csv"
VALUES = [
    "42283.50,42290.00,42280.10,42285.0,12.500",
    "42285.0,42285.0,42270.25,42271,3.1",
    "42271,42300,42271,42299,7",
]


def stamped(stamps: list[str]) -> str:
    return "".join(f"{stamp},{values}\n" for stamp, values in zip(stamps, VALUES, strict=True))


def klines(per_second: int = 1_000) -> str:
    starts = [(T_S + 60 * i) * per_second for i in range(3)]
    return "".join(
        f"{start},{values},{start + 60 * per_second - 1},528543.75,42,6.2,262000.1,0\n"
        for start, values in zip(starts, VALUES, strict=True)
    )


UNIX = stamped([str(T_S + 60 * i) for i in range(3)])
HEADER = "timestamp,open,high,low,close,volume\n"


def written(folder: Path, text: str, name: str = "btc_perp_1m.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("per_second", [1_000, 1_000_000], ids=["ms", "us"])
@pytest.mark.parametrize("header", [KLINES_HEADER, ""], ids=["header", "no header"])
def test_klines_name_their_instrument_by_the_file(tmp_path: Path, header: str, per_second: int) -> None:
    bars = check_bars(load_bar_files(written(tmp_path, header + klines(per_second), NAME)))

    assert bars.instrument.instrument_id == "BTCUSDT.BINANCE"
    assert (bars.instrument.price_precision, bars.instrument.size_precision) == (2, 1)
    assert (bars.source, bars.simulated, bars.interval_ns) == (NAME, False, MINUTE_NS)
    assert bars.ts_event.tolist() == CLOSES
    assert bars.open.tolist() == [4228350, 4228500, 4227100]
    assert bars.high.tolist() == [4229000, 4228500, 4230000]
    assert bars.low.tolist() == [4228010, 4227025, 4227100]
    assert bars.close.tolist() == [4228500, 4227100, 4229900]
    assert bars.volume.tolist() == [125, 31, 70]


def test_published_archives_are_read_as_they_are(tmp_path: Path) -> None:
    zipped, gzipped = tmp_path / "BTCUSDT-1m-2024-01.zip", tmp_path / f"{NAME}.gz"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(NAME, klines())
    gzipped.write_bytes(gzip.compress(klines().encode()))

    plain = load_bar_files(written(tmp_path, klines(), NAME))

    assert load_bar_files(zipped).sha256 == load_bar_files(gzipped).sha256 == plain.sha256


@pytest.mark.parametrize(
    "stamps",
    [
        [f"{T_S + 60 * i}" for i in range(3)],
        [f"{T_S + 60 * i}.0" for i in range(3)],
        [f"{T_S + 60 * i}000" for i in range(3)],
        [f"{T_S + 60 * i}000000" for i in range(3)],
        [f"{T_S + 60 * i}000000000" for i in range(3)],
        [f"2024-01-01 00:0{i}:00.000000" for i in range(3)],
        [f"2024-01-01T00:0{i}:00Z" for i in range(3)],
        [f"2024-01-01T00:0{i}" for i in range(3)],
        [f"2024-01-01T02:0{i}:00+02:00" for i in range(3)],
        ["2024-01-01", "2023-12-31T19:01:00-05:00", "2024-01-01 00:02:00"],
    ],
    ids=["s", "s float", "ms", "us", "ns", "pandas", "zulu", "minutes", "offset", "mixed"],
)
def test_every_way_to_write_a_time_is_the_same_time(tmp_path: Path, stamps: list[str]) -> None:
    assert load_bar_files(written(tmp_path, HEADER + stamped(stamps))).ts_event.tolist() == CLOSES


def test_dates_are_days_of_utc(tmp_path: Path) -> None:
    bars = load_bar_files(written(tmp_path, HEADER + stamped(["2024-01-30", "2024-01-31", "2024-02-01"])))

    assert bars.interval_ns == 86_400 * 10**9
    assert pd.Timestamp(bars.ts_event[0]) == pd.Timestamp("2024-01-31")


def test_timestamp_is_the_open_by_default(tmp_path: Path) -> None:
    path = written(tmp_path, UNIX)

    opened, closed = load_bar_files(path), load_bar_files(path, read=ReadOptions("close"))

    assert (opened.ts_event - closed.ts_event).tolist() == [MINUTE_NS] * 3
    assert opened.ts_event.tolist() == CLOSES
    with pytest.raises(BadReadOption, match="stamp: expected open or close, got 'mid'"):
        ReadOptions("mid")
    with pytest.raises(
        BadData, match="expected --stamp open, as Binance klines are stamped when they open, got --stamp close"
    ):
        load_bar_files(written(tmp_path, klines(), NAME), read=ReadOptions("close"))


def test_the_interval_is_the_commonest(tmp_path: Path) -> None:
    minutes = [0, 5, 10, 11, 16, 31]
    rows = "".join(f"{T_S + 60 * minute},1,1,1,1,1\n" for minute in minutes)

    assert load_bar_files(written(tmp_path, rows)).interval_ns == 5 * MINUTE_NS


def test_columns_may_come_in_any_order_and_case_and_with_others(tmp_path: Path) -> None:
    frame = pd.DataFrame([row.split(",") for row in (HEADER + UNIX).splitlines()[1:]], columns=list("tohlcv"))
    text = "\ufeffVolume, Close,Low,High,Open,trades,DateTime\n" + "".join(
        f"{r.v},{r.c},{r.l},{r.h},{r.o},9,{r.t}\n" for r in frame.itertuples()
    )

    assert load_bar_files(written(tmp_path, text)).sha256 == load_bar_files(written(tmp_path, UNIX)).sha256


@pytest.mark.parametrize(
    ("name", "symbol", "given", "expected"),
    [
        ("btc_perp_1m_2022-01.csv", None, None, "BTC-PERP.FILE"),
        ("eth-2024.csv", None, None, "ETH.FILE"),
        ("bars.txt", None, None, "BARS.FILE"),
        ("btc_perp_1m_2022-01.csv", None, "BTC-PERP.FTX", "BTC-PERP.FTX"),
        ("2024.csv", None, "BRK.B.XNYS", "BRK.B.XNYS"),
        ("bars.csv", "ETH/USD", None, "ETH/USD.FILE"),
        ("bars.csv", "ETH/USD", "ETH/USD.KRAKEN", "ETH/USD.KRAKEN"),
        ("BTCUSD_PERP-15m-2024-01-31.csv", None, None, "BTCUSD_PERP.BINANCE"),
        ("BTCUSDT-1mo-2024-01.csv", "BTCUSDT", "BTCUSDT.BINANCE", "BTCUSDT.BINANCE"),
    ],
)
def test_who_tells_the_instrument(
    tmp_path: Path, name: str, symbol: str | None, given: str | None, expected: str
) -> None:
    header, rows = HEADER, UNIX
    if symbol:
        header = header.replace("\n", ",Symbol\n")
        rows = rows.replace("\n", f",{symbol}\n")

    assert load_bar_files(written(tmp_path, header + rows, name), given).instrument.instrument_id == expected


SYMBOLS = HEADER.replace("\n", ",symbol\n") + UNIX.replace("\n", ",BTCUSDT\n")
MIXED = SYMBOLS.replace("7,BTCUSDT", "7,ETHUSDT")


@pytest.mark.parametrize(
    ("name", "text", "given", "message"),
    [
        (NAME, UNIX, "BTCUSDT.KRAKEN", r"expected bars of BTCUSDT\.KRAKEN, got BTCUSDT\.BINANCE"),
        (NAME, klines(), "ETHUSDT.BINANCE", r"expected bars of ETHUSDT\.BINANCE, got BTCUSDT\.BINANCE"),
        ("bars.csv", SYMBOLS, "ETHUSDT.X", r"expected bars of ETHUSDT\.X, got BTCUSDT\.X"),
        ("ETHUSDT-1m-2024-01.csv", SYMBOLS, None, "expected ETHUSDT in column 'symbol', got BTCUSDT"),
        ("bars.csv", MIXED, None, "expected one instrument, got 2: BTCUSDT, ETHUSDT; name one with --instrument"),
        ("bars.csv", MIXED, "SOLUSDT.X", "expected SOLUSDT, got 2: BTCUSDT, ETHUSDT"),
        ("bars.csv", SYMBOLS.replace("BTCUSDT", ""), None, "line 2, column 'symbol': expected a symbol, got ''"),
        ("2024.csv", UNIX, None, "expected --instrument, or a file name that begins with the symbol"),
        ("bars.csv", UNIX, "BTCUSDT", r"expected an instrument like BTCUSDT\.BINANCE, got 'BTCUSDT'"),
    ],
)
def test_a_file_is_about_one_instrument(tmp_path: Path, name: str, text: str, given: str | None, message: str) -> None:
    with pytest.raises(BadData, match=message):
        load_bar_files(written(tmp_path, text, name), given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected at least one bar, got an empty file"),
        (HEADER, "expected at least one bar, got only a header"),
        (UNIX.splitlines(keepends=True)[0], "expected at least 2 bars of different times, to derive their interval"),
        ("1,2,3\n", "expected a header, or a number of columns .* 12 .Binance klines.*; got 3 columns"),
        (HEADER.replace("volume", "size") + UNIX, r"expected a column of volume .*, got \['size'\]"),
        (HEADER.replace("close", "end") + UNIX, r"expected columns \['close'\] of bars, got a header of"),
        (HEADER.replace("timestamp", "when") + UNIX, r"expected columns \['timestamp'\] of bars, got a header of"),
        ("time,open,high,low,close,volume,unix\n" + UNIX.replace("\n", ",1\n"), "expected one .*, got time and unix"),
        (
            "time,open,high,low,Open,volume,close\n" + UNIX.replace("\n", ",1\n"),
            "expected one column of open .*, got open and Open",
        ),
        (UNIX.replace("42285.0,12.500", "4228x,12.500"), "line 1, column 'close': expected a number, got '4228x'"),
        (UNIX.replace("42270.25", ""), "line 2, column 'low': expected a number, got ''"),
        (UNIX.replace("3.1", "nan"), "line 2, column 'volume': expected a number, got 'nan'"),
        (UNIX.replace("3.1", "inf"), "line 2, column 'volume': expected a number, got 'inf'"),
        (UNIX.replace("3.1", "e-5"), "line 2, column 'volume': expected a number, got 'e-5'"),
        (
            UNIX.replace(str(T_S + 60), "12345"),
            "line 2, column 'timestamp': expected Unix seconds or .* of 2000 to 2099",
        ),
        (
            UNIX.replace(str(T_S + 60), "9999999999999999999"),
            "line 2, column 'timestamp': expected a number of at most",
        ),
        (UNIX.replace(str(T_S + 60), f"{T_S}.55x"), "line 2, column 'timestamp': expected a number"),
        (UNIX.replace(str(T_S), "2024-01-01"), "line 2, column 'timestamp': expected a time like 2024-01-31 or"),
        (
            HEADER + stamped(["2024-01-01", "now", "2024-01-03"]),
            "line 3, column 'timestamp': expected a time like .*'now'",
        ),
        (
            HEADER + stamped(["2024-01-01", "2024-02-30", "2024-01-03"]),
            "line 3, column 'timestamp': expected a time like",
        ),
        (HEADER + stamped(["2024-01-01", "", "2024-01-03"]), "line 3, column 'timestamp': expected a time like"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)

    with pytest.raises(BadData, match=message) as error:
        load_bar_files(path)

    assert str(error.value).startswith(path.name)


def test_binary_float_noise_in_volumes_is_rounded_and_noted(tmp_path: Path) -> None:
    noisy = UNIX.replace("12.500", "900000000.5").replace("3.1", "218102.59507500002").replace(",7\n", ",1e-9\n")

    bars = load_bar_files(written(tmp_path, noisy))

    (note,) = bars.notes
    assert note.startswith("btc_perp_1m.csv: 2 of 3 volumes had more than 6 decimals")
    assert bars.volume.tolist() == [900_000_000_500_000, 218_102_595_075, 0]


def test_volumes_that_are_fine_enough_stay_exact(tmp_path: Path) -> None:
    bars = load_bar_files(written(tmp_path, UNIX.replace("3.1", "0.12345678").replace(",7\n", ",1.5e-7\n")))

    assert bars.notes == ()
    assert bars.volume.tolist() == [1_250_000_000, 12_345_678, 15]


@pytest.mark.skipif(not REAL.is_file(), reason="the real sample is not here")
def test_the_real_sample_is_read_exactly() -> None:
    bars = check_bars(load_bar_files(REAL))

    frame = pd.read_csv(REAL, float_precision="round_trip")
    assert bars.instrument.instrument_id == "BTC-PERP.FILE"
    assert len(bars) == 45_031
    assert examine(bars).breaks.count == 0
    assert pd.Timestamp(bars.ts_event[0]) == pd.Timestamp("2021-12-31 23:02")
    for name in PRICES:
        np.testing.assert_array_equal(bars.prices(name), frame[name])
    assert bars.notes[-1].startswith("btc_perp_1m_2022-01.csv.gz: 14 of 45,031 volumes had more than 4 decimals")
    np.testing.assert_allclose(bars.volumes(), frame["volume"], rtol=0, atol=0.5001e-4)
    assert (bars.volumes() != frame["volume"]).sum() == 14
