import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nautilus_torchserve.market.trades.load import load_files
from nautilus_torchserve.market.trades.trades import BadData, check

SAMPLE = Path(__file__).parents[4] / "shared/data/btcusdt_perp_trades_2020-02-22.csv"
T_MS, T_NS = 1_704_067_200_123, 1_704_067_200_123_000_000

TARDIS = """exchange,symbol,timestamp,local_timestamp,id,side,price,amount
binance-futures,BTCUSDT,1582329602111000,1582329602418379,42,buy,9682,0.132
binance-futures,BTCUSDT,1582329602116000,1582329602418420,43,sell,9681.9,0.4
binance-futures,BTCUSDT,1582329602150000,1582329602421528,44,unknown,9681.92,2
"""
FUTURES_HEADER = "id,price,qty,quote_qty,time,is_buyer_maker\n"
FUTURES = f"7,42283.50,0.100,4228.35,{T_MS},true\n8,42283.60,2.000,84567.2,{T_MS + 1},false\n"
SPOT_HEADER = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match\n"
SPOT = f"7,42283.50000000,0.1,4228.35,{T_MS},True,True\n8,42283.60000000,2.0,84567.2,{T_MS + 1},False,True\n"
SPOT_US = SPOT.replace(str(T_MS), f"{T_MS}000").replace(str(T_MS + 1), f"{T_MS + 1}000")
AGG_HEADER = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
AGG = f"7,42283.5,0.1,1,2,{T_MS},true\n8,42283.6,2,3,3,{T_MS + 1},false\n"
AGG_SPOT = f"7,42283.5,0.1,1,2,{T_MS}000,True,True\n8,42283.6,2,3,3,{T_MS + 1}000,False,True\n"


def written(folder: Path, text: str, name: str = "BTCUSDT-trades-2024-01.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_tardis_has_times_of_receipt_and_names_its_instrument(tmp_path: Path) -> None:
    trades = check(load_files(written(tmp_path, TARDIS, "any-name.csv")))

    assert trades.instrument.instrument_id == "BTCUSDT.BINANCE"
    assert (trades.instrument.price_precision, trades.instrument.size_precision) == (2, 3)
    assert trades.source == "any-name.csv"
    assert not trades.simulated
    assert trades.ts_event[0] == 1_582_329_602_111_000_000
    assert trades.ts_init[0] == 1_582_329_602_418_379_000
    assert trades.price.tolist() == [968200, 968190, 968192]
    assert trades.size.tolist() == [132, 400, 2000]
    assert trades.side.tolist() == [1, -1, 0]
    assert trades.trade_id.tolist() == ["42", "43", "44"]


def test_another_exchange_of_tardis_is_its_name_in_capitals(tmp_path: Path) -> None:
    text = TARDIS.replace("binance-futures", "deribit").replace("BTCUSDT", "BTC-PERPETUAL")

    assert load_files(written(tmp_path, text)).instrument.instrument_id == "BTC-PERPETUAL.DERIBIT"


@pytest.mark.parametrize("text", [TARDIS, TARDIS.split("\n", 1)[1]], ids=["header", "no header"])
def test_tardis_is_known_by_its_columns(tmp_path: Path, text: str) -> None:
    assert load_files(written(tmp_path, text)).trade_id.tolist() == ["42", "43", "44"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BTCUSDT-trades-2024-01.csv", FUTURES_HEADER + FUTURES),
        ("BTCUSDT-trades-2024-01.csv", FUTURES),
        ("BTCUSDT-trades-2024-01.csv", SPOT_HEADER + SPOT),
        ("BTCUSDT-trades-2024-01.csv", SPOT),
        ("BTCUSDT-trades-2025-01-03.csv", SPOT_US),
        ("BTCUSDT-aggTrades-2024-01.csv", AGG_HEADER + AGG),
        ("BTCUSDT-aggTrades-2024-01.csv", AGG),
        ("BTCUSDT-aggTrades-2025-01.csv", AGG_SPOT),
    ],
    ids=["futures header", "futures", "spot header", "spot", "spot us", "agg header", "agg futures", "agg spot us"],
)
def test_every_kind_of_binance_file_gives_the_same_trades(tmp_path: Path, name: str, text: str) -> None:
    trades = check(load_files(written(tmp_path, text, name)))

    assert trades.instrument.instrument_id == "BTCUSDT.BINANCE"
    assert (trades.instrument.price_precision, trades.instrument.size_precision) == (1, 1)
    assert trades.price.tolist() == [422835, 422836]
    assert trades.size.tolist() == [1, 20]
    assert trades.side.tolist() == [-1, 1]  # the buyer was the maker: the seller was the aggressor
    assert trades.ts_event.tolist() == trades.ts_init.tolist() == [T_NS, T_NS + 1_000_000]
    assert trades.trade_id.tolist() == ["7", "8"]


def test_published_archives_are_read_as_they_are(tmp_path: Path) -> None:
    plain = load_files(written(tmp_path, FUTURES))
    zipped, gzipped = tmp_path / "BTCUSDT-trades-2024-01.zip", tmp_path / "BTCUSDT-trades-2024-01.csv.gz"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("BTCUSDT-trades-2024-01.csv", FUTURES)
    gzipped.write_bytes(gzip.compress(FUTURES.encode()))

    assert load_files(zipped).sha256 == load_files(gzipped).sha256 == plain.sha256


@pytest.mark.parametrize("name", ["trades.csv", "btcusdt.csv", "BTCUSDT-2024-01.csv"])
def test_binance_needs_a_file_name_with_the_symbol(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadData, match=r"expected a file name like BTCUSDT-trades-2024-01\.csv"):
        load_files(written(tmp_path, FUTURES, name))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected at least one trade, got an empty file"),
        (FUTURES_HEADER, "expected at least one trade, got only a header"),
        ("1,2,3,4\n", "expected a header, or a number of columns .*: 8 .Tardis trades., 6 or 7 .*; got 4 columns"),
        (FUTURES_HEADER.replace("price", "prize") + FUTURES, r"expected columns \['price'\] of Binance trades"),
        (AGG_HEADER.replace("transact_time", "t") + AGG, r"\['transact_time'\] of Binance aggTrades"),
        (TARDIS.replace("local_timestamp", "arrival"), r"\['local_timestamp'\] of Tardis trades"),
        (FUTURES.replace("42283.60", "4228x"), "line 2, column 'price': expected a number, got '4228x'"),
        (FUTURES_HEADER + FUTURES.replace("2.000", ""), "line 3, column 'qty': expected a number, got ''"),
        (FUTURES + "9,42283.6\n", "line 3: expected 6 cells as in the first line, got 2; .* download"),
        (FUTURES + "9,1,1,1,1,true,true,true\n", "line 3: expected 6 cells as in the first line, got 8; .* download"),
        (FUTURES.replace("false", "no"), "line 2, column 'is_buyer_maker': expected true or false, got 'no'"),
        (
            FUTURES.replace(str(T_MS), str(T_MS // 1000)),
            "line 1, column 'time': expected Unix milliseconds or microseconds",
        ),
        (FUTURES_HEADER.replace("quote_qty", "qty") + FUTURES, "expected one column of size .qty., got qty and qty"),
        (TARDIS.replace("sell", "bid"), "line 3, column 'side': expected buy or sell or unknown, got 'bid'"),
        (
            TARDIS.replace("BTCUSDT,1582329602150", "ETHUSDT,1582329602150"),
            "expected one instrument, got 2: BTCUSDT, ETHUSDT; name one with --instrument",
        ),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)

    with pytest.raises(BadData, match=message) as error:
        load_files(path)

    assert str(error.value).startswith(path.name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FUTURES.replace("42283.60", "-1"), "line 2: expected a positive price .*, got -1.0"),
        (FUTURES.replace("42283.60", "0"), "line 2: expected a positive price .*, got 0"),
        (FUTURES.replace("2.000", "0.000"), "line 2: expected a positive size, got 0"),
    ],
)
def test_what_can_be_read_but_not_used_is_refused_by_the_check(tmp_path: Path, text: str, message: str) -> None:
    trades = load_files(written(tmp_path, text))

    with pytest.raises(BadData, match=message):
        check(trades)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [("zip", FUTURES.encode()), ("csv.gz", gzip.compress(FUTURES.encode(), mtime=0)[:-9])],
    ids=["zip", "gzip"],
)
def test_a_damaged_archive_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"BTCUSDT-trades-2024-01.{suffix}"
    path.write_bytes(content)

    with pytest.raises(BadData, match="unreadable data"):
        load_files(path)


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the real sample is not here")
def test_the_real_sample_is_read_exactly() -> None:
    trades = check(load_files(SAMPLE))

    assert len(trades) == 9_999
    assert (trades.instrument.price_precision, trades.instrument.size_precision) == (2, 3)
    prices = np.loadtxt(SAMPLE, delimiter=",", skiprows=1, usecols=6)
    np.testing.assert_array_equal(trades.price, np.rint(prices * 100).astype(np.int64))
