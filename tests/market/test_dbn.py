"""Databento's binary files, written by Databento's own library, are read to the digit."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.bars.load import load_bar_files
from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.market.trades.load import load_files

dbn = pytest.importorskip("databento_dbn")
import pyarrow as pa  # noqa: E402, a dependency of NautilusTrader

START_NS = 1_704_067_200_000_000_000


@dataclass
class Interval:
    start_date: date
    end_date: date
    symbol: str


@dataclass
class Mapping:
    raw_symbol: str
    intervals: list[Interval]


def encoded(schema: str, *records: object) -> bytes:
    metadata = dbn.Metadata(
        dataset="GLBX.MDP3",
        start=START_NS,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID,
        schema=dbn.Schema.from_str(schema),
        symbols=["ESH4"],
        mappings=[Mapping("ESH4", [Interval(date(2024, 1, 1), date(2024, 1, 2), "5")])],
        end=START_NS + 86_400 * 10**9,
    )
    return metadata.encode() + b"".join(map(bytes, records))


def bar(minute: int, rtype: int = 33) -> object:
    opened = START_NS + minute * 60 * 10**9
    return dbn.OHLCVMsg(
        rtype, 1, 5, opened, 4_750_250_000_000, 4_751_000_000_000, 4_749_750_000_000, 4_750_500_000_000, 7
    )


BARS = encoded("ohlcv-1m", bar(0), bar(5), bar(10))


def written(folder: Path, content: bytes, name: str = "glbx-mdp3-20240101.dbn") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_bars_have_the_interval_of_their_schema_however_few_they_are(tmp_path: Path) -> None:
    bars = load_bar_files(written(tmp_path, BARS))

    assert bars.instrument.instrument_id == "ESH4.FILE"
    assert (bars.interval_ns, bars.instrument.price_precision) == (60 * 10**9, 2)
    assert [(ns - START_NS) // 10**9 for ns in bars.ts_event.tolist()] == [60, 360, 660]
    assert [int(column[0]) for column in (bars.open, bars.high, bars.low, bars.close, bars.volume)] == [
        *(475_025, 475_100, 474_975, 475_050, 7)
    ]


def test_trades_and_quotes_have_both_times(tmp_path: Path) -> None:
    level = dbn.BidAskPair(4_750_250_000_000, 4_750_500_000_000, 10, 11, 3, 4)
    common = (1, 5, START_NS + 1, 4_750_500_000_000, 3, dbn.Action.TRADE, dbn.Side.BID, 0, START_NS + 2)

    trades = load_files(written(tmp_path, encoded("trades", dbn.TradeMsg(*common)), "a.dbn"))
    quotes = load_quotes(written(tmp_path, encoded("mbp-1", dbn.MBP1Msg(*common, levels=level)), "b.dbn"))

    assert (trades.price.tolist(), trades.size.tolist(), trades.side.tolist()) == ([47505], [3], [1])
    assert (quotes.bid_price.tolist(), quotes.ask_price.tolist()) == ([475025], [475050])
    assert (quotes.bid_size.tolist(), quotes.ask_size.tolist()) == ([10], [11])
    for data in (trades, quotes):
        assert (data.ts_event.tolist(), data.ts_init.tolist()) == ([START_NS + 1], [START_NS + 2])


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        (".zst", lambda content: pa.compress(content, "zstd", asbytes=True)),
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
    ],
)
def test_compressed_files_are_the_files(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    plain = load_bar_files(written(tmp_path, BARS)).sha256
    (tmp_path / "folder").mkdir()
    path = written(tmp_path / "folder", compress(BARS), f"glbx.dbn{suffix}")

    assert load_bar_files(path).sha256 == load_bar_files(path.parent).sha256 == plain
    with pytest.raises(BadData, match=f"x.dbn{suffix}: expected a readable file, got"):
        load_bar_files(written(tmp_path, compress(BARS)[:-20], f"x.dbn{suffix}"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BARS[:-9], "expected whole records, got 47 bytes of one at the end; download it again"),
        (BARS[:40], "expected Databento's binary encoding, got unreadable data"),
        (encoded("ohlcv-1m", bar(0), bar(1, rtype=32)), "record 2: expected the kind of the first one, 33, got 32"),
        (encoded("status"), "x.dbn: "),
    ],
    ids=["cut record", "cut header", "two intervals", "another schema"],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BadData, match=message):
        load_bar_files(written(tmp_path, content, "x.dbn"))
