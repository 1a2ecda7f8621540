"""Quotes from files: Tardis, Binance and Databento, exact, in order, and refused where they cannot be used."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.market.quotes.quotes import Quotes, check
from nautilus_torchserve.market.trades.trades import EXACT_INTEGERS

TARDIS = (
    "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount\n"
    "deribit,BTC-PERPETUAL,1582329602111000,1582329602418379,10,9682.5,9682,20\n"
    "deribit,BTC-PERPETUAL,1582329602116000,1582329602418420,5,9683,9682.25,0\n"
)
BINANCE = (
    "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time\n"
    "1,42283.50,1.5,42283.60,2.000,1704067200123,1704067200130\n"
    "2,42283.50,1.5,42283.70,0.25,1704067200124,1704067200131\n"
)
DATABENTO = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,ts_in_delta,sequence,"
    "bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_ct_00,ask_ct_00,symbol\n"
    "1709510400000000100,1709510400000000000,1,1,5,A,B,0,10,1,0,0,7,5123250000000,5123500000000,10,11,3,4,ESH4\n"
)
BINANCE_NAME = "BTCUSDT-bookTicker-2024-01-01.csv"


def written(folder: Path, text: str, name: str = "quotes.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def without_header(text: str) -> str:
    return text.split("\n", 1)[1]


@pytest.mark.parametrize("text", [TARDIS, without_header(TARDIS)], ids=["header", "no header"])
def test_tardis_quotes_have_both_times_and_name_their_instrument(tmp_path: Path, text: str) -> None:
    quotes = load_quotes(written(tmp_path, text))

    assert quotes.instrument.instrument_id == "BTC-PERPETUAL.DERIBIT"
    assert (quotes.instrument.price_precision, quotes.instrument.size_precision) == (2, 0)
    assert quotes.ts_event.tolist() == [1582329602111000000, 1582329602116000000]
    assert quotes.ts_init.tolist() == [1582329602418379000, 1582329602418420000]
    assert quotes.bid_price.tolist() == [968200, 968225]
    assert quotes.ask_price.tolist() == [968250, 968300]
    assert quotes.bid_size.tolist() == [20, 0]
    assert quotes.ask_size.tolist() == [10, 5]
    assert quotes.prices().tolist() == [9682.25, 9682.625]
    assert quotes.notes == ()


@pytest.mark.parametrize("text", [BINANCE, without_header(BINANCE)], ids=["header", "no header"])
def test_binance_book_tickers_name_their_instrument_by_the_file(tmp_path: Path, text: str) -> None:
    quotes = load_quotes(written(tmp_path, text, BINANCE_NAME))

    assert quotes.instrument.instrument_id == "BTCUSDT.BINANCE"
    assert quotes.ask_price.tolist() == [422836, 422837]
    assert quotes.ask_size.tolist() == [200, 25]
    assert quotes.ts_init.tolist() == [1704067200130000000, 1704067200131000000]
    assert load_quotes(written(tmp_path, text, "x.csv"), "BTCUSDT.BINANCE").sha256 == quotes.sha256
    with pytest.raises(BadData, match=r"expected a file name like BTCUSDT-bookTicker.*; name it with --instrument"):
        load_quotes(written(tmp_path, text, "x.csv"))


@pytest.mark.parametrize("text", [DATABENTO, DATABENTO.replace("5123250000000,5123500000000", "5123.250000000,5123.5")])
def test_databento_prices_are_decimals_or_billionths(tmp_path: Path, text: str) -> None:
    quotes = load_quotes(written(tmp_path, text), "ESH4.GLBX")

    assert quotes.instrument.price_precision == 2
    assert (quotes.bid_price.tolist(), quotes.ask_price.tolist()) == ([512325], [512350])


def test_quotes_of_one_side_and_crossed_quotes_are_left_out_and_counted(tmp_path: Path) -> None:
    row = TARDIS.splitlines()[1]
    text = TARDIS + row.replace("10,9682.5", ",") + "\n" + row.replace("9682.5", "9681") + "\n"

    quotes = load_quotes(written(tmp_path, text))

    assert len(quotes) == 2
    assert quotes.notes[:2] == (
        "quotes.csv: 1 of 4 quotes lack a bid or an ask and were left out.",
        "quotes.csv: 1 of 3 quotes have a bid above the ask and were left out.",
    )
    twice = load_quotes(written(tmp_path, TARDIS + TARDIS.splitlines()[2] + "\n"))
    assert len(twice) == 2
    assert twice.notes == ("quotes.csv: 1 of 3 rows repeat an earlier one and were left out.",)
    swapped = TARDIS.replace("ask_price,bid_price", "bid_price,ask_price")
    with pytest.raises(BadData, match=r"line 2: expected a bid of at most the ask, .* in 2 of 2 .* swapped\?"):
        load_quotes(written(tmp_path, swapped))


def test_quotes_are_used_in_order_of_event_once_all_before_are_received(tmp_path: Path) -> None:
    header, first, second = TARDIS.splitlines()
    quotes = load_quotes(written(tmp_path, "\n".join([header, second, first]) + "\n"))

    assert quotes.ts_event.tolist() == [1582329602111000000, 1582329602116000000]
    assert quotes.place(0) == "line 3"
    assert quotes.notes == ("quotes.csv: 2 of 2 rows were not in order of time and were sorted.",)
    late = load_quotes(written(tmp_path, TARDIS.replace("2418379", "2418999")))
    assert late.ts_init.tolist() == [1582329602418999000] * 2
    skewed = load_quotes(written(tmp_path, TARDIS.replace("1582329602418379", "1582329602110000")))
    assert skewed.ts_init[0] == skewed.ts_event[0]
    assert "1 of 2 rows were received before the venue's time, by up to 1.000 ms" in skewed.notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bid_price": [0, 968225]}, "line 2: expected bid_price above 0, got 0.00"),
        ({"ask_size": [10, -1]}, "line 3: expected ask_size of at least 0, got -1"),
        ({"ask_price": [EXACT_INTEGERS, 968300]}, r"line 2: expected ask_price below 2\*\*53"),
        ({"bid_price": [968251, 968225]}, "line 2: expected a bid of at most the ask, got 9682.51"),
        ({"ts_event": [2, 1]}, "line 3: expected ts_event sorted in time"),
        ({"ts_init": [1, 2]}, r"line 2: expected a time of receipt .ts_init. not before"),
    ],
)
def test_what_no_engine_can_use_is_refused(tmp_path: Path, changes: dict[str, list[int]], message: str) -> None:
    quotes: Quotes = load_quotes(written(tmp_path, TARDIS))

    with pytest.raises(BadData, match=message):
        check(replace(quotes, **{name: np.array(values) for name, values in changes.items()}))


def test_part_of_the_quotes_is_their_slice(tmp_path: Path) -> None:
    quotes = load_quotes(written(tmp_path, TARDIS))

    part = quotes.between(1, 2)

    assert (part.bid_price.tolist(), part.place(0), part.sha256 == quotes.sha256) == ([968225], "line 3", False)


def test_prices_that_have_not_changed_are_those_of_the_row_before(tmp_path: Path) -> None:
    ticks = (("1.4", "", "2"), ("", "1.6", "4"), ("", "1.7", "4"), ("1.5", "", "2"))
    rows = "".join(
        f"2024.01.01\t00:00:0{second}.123\t{bid}\t{ask}\t\t\t{flags}\n"
        for second, (bid, ask, flags) in enumerate(ticks)
    )
    header = "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\n"

    quotes = load_quotes(written(tmp_path, header + rows, "EURUSD_202401010000_202401010001.csv"))

    assert (quotes.bid_price.tolist(), quotes.ask_price.tolist()) == ([14, 14, 15], [16, 17, 17])
    assert "1 of 4 quotes lack a bid or an ask and were left out" in quotes.notes[0]


LEVELS_CSV = (
    "timestamp,bid_price_0,ask_price_0,bid_size_0,ask_size_0,bid_price_1,ask_price_1,bid_size_1,ask_size_1\n"
    "1704067200123,1.4,1.6,2,4,1.3,1.7,5,6\n"
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.3,1.7", "1.5,1.7", "line 2: expected bid level 2 behind level 1, with a size of at least 0, got 1.5"),
        ("1.3,1.7", "1.3,1.6", "line 2: expected ask level 2 behind level 1, with a size of at least 0, got 1.6"),
        ("5,6", "-5,6", "line 2: expected bid level 2 behind level 1"),
        (",ask_size_1\n", ",x\n", "expected price and size of both sides of each level, got no ask_size_1"),
    ],
)
def test_levels_of_a_book_that_cannot_be_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(BadData, match=message):
        load_quotes(written(tmp_path, LEVELS_CSV.replace(old, new)), "ACME.X")
