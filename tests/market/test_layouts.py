"""Every layout of the table: a file as its vendor writes it is recognised and read exactly."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.bars.load import load_bar_files
from nautilus_torchserve.market.inspection import inspect_files
from nautilus_torchserve.market.layouts.table import ALL_LAYOUTS
from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.market.quotes.quotes import Depth
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.load import load_files
from support import PROJECT

S = 1_704_067_200
"""2024-01-01T00:00:00Z, when each sample begins."""
EST_S = S + 5 * 3_600
"""The same clock time in New York."""
BARS = [("1.5", "1.75", "1.25", "1.6", "7"), ("1.6", "1.7", "1.5", "1.5", "9")]
OHLCV = [",".join(values) for values in BARS]
DATABENTO = "1,1,5,T,B,0,{price},3,0,0,7"
BOOK = "1.4,1.6,2,4"

SAMPLES: dict[str, tuple[str, str, int]] = {
    # layout: (name of the file, its text, time of the first row in Unix seconds)
    "bars": ("acme.csv", f"timestamp,open,high,low,close,volume\n{S},{OHLCV[0]}\n{S + 60},{OHLCV[1]}\n", S),
    "bars-date-time": (
        "acme.csv",
        f"Date,Time,Open,High,Low,Close,Volume\n2024-01-01,00:00,{OHLCV[0]}\n2024-01-01,00:01,{OHLCV[1]}\n",
        S,
    ),
    "binance-klines": (
        "BTCUSDT-1m-2024-01.csv",
        f"{S}000,{OHLCV[0]},{S + 59}999,9,4,3,2,0\n{S + 60}000,{OHLCV[1]},{S + 119}999,9,4,3,2,0\n",
        S,
    ),
    "binance-klines-short": ("BTCUSDT-1m-2024-01.csv", f"{S}000,{OHLCV[0]}\n{S + 60}000,{OHLCV[1]}\n", S),
    "massive-aggregates": (
        "2024-01-01.csv",
        "ticker,volume,open,close,high,low,window_start,transactions\n"
        f"ACME,7,1.5,1.6,1.75,1.25,{S}000000000,1\nACME,9,1.6,1.5,1.7,1.5,{S + 60}000000000,1\n",
        S,
    ),
    "databento-ohlcv": (
        "glbx.csv",
        "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol\n"
        f"{S}000000000,33,1,5,1500000000,1750000000,1250000000,1600000000,7,ACME\n"
        f"{S + 60}000000000,33,1,5,1600000000,1700000000,1500000000,1500000000,9,ACME\n",
        S,
    ),
    "bybit-klines": (
        "BTCUSDT_1_2024-01-01_2024-01-31.csv",
        "startTime,openPrice,highPrice,lowPrice,closePrice,volume,turnover\n"
        f"{S}000,{OHLCV[0]},1\n{S + 60}000,{OHLCV[1]},1\n",
        S,
    ),
    "okx-candles": (
        "BTC-USDT-candlesticks-2024-01-01.csv",
        "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm\n"
        f"BTC-USDT,{OHLCV[0]},1,1,{S}000,1\nBTC-USDT,{OHLCV[1]},1,1,{S + 60}000,1\n"
        f"BTC-USDT,1,1,1,1,1,1,1,{S + 120}000,0\n",
        S,
    ),
    "coinbase-candles": ("btc.csv", f"{S},1.25,1.75,1.5,1.6,7\n{S + 60},1.5,1.7,1.6,1.5,9\n", S),
    "kraken-ohlcvt": ("XBTUSD_1.csv", f"{S},{OHLCV[0]},3\n{S + 60},{OHLCV[1]},3\n", S),
    "cryptodatadownload": (
        "Bitstamp_BTCUSD_minute.csv",
        "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USD\n"
        f"{S + 60},2024-01-01 00:01:00,BTC/USD,{OHLCV[1]},5\n{S},2024-01-01 00:00:00,BTC/USD,{OHLCV[0]},5\n",
        S,
    ),
    "metatrader": (
        "EURUSD_M1_202401010000_202401010001.csv",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
        + "".join(
            f"2024.01.01\t00:0{minute}:00\t" + "\t".join(values) + "\t0\t4\n" for minute, values in enumerate(BARS)
        ),
        S,
    ),
    "histdata-metatrader": (
        "DAT_MT_EURUSD_M1_202401.csv",
        f"2024.01.01,00:00,{OHLCV[0]}\n2024.01.01,00:01,{OHLCV[1]}\n",
        EST_S,
    ),
    "metatrader-bare": ("EURUSD1.csv", f"2024.01.01,00:00,{OHLCV[0]}\n2024.01.01,00:01,{OHLCV[1]}\n", S),
    "histdata": (
        "DAT_ASCII_EURUSD_M1_202401.csv",
        "".join(f"20240101 000{minute}00;" + ";".join(values) + "\n" for minute, values in enumerate(BARS)),
        EST_S,
    ),
    "dukascopy": (
        "EURUSD_Candlestick_1_M_BID_01.01.2024-01.01.2024.csv",
        "Gmt time,Open,High,Low,Close,Volume\n"
        + "".join(f"01.01.2024 00:0{minute}:00.000,{values}\n" for minute, values in enumerate(OHLCV)),
        S,
    ),
    "stooq": (
        "acme.us.txt",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        + "".join(f"ACME.US,1,20240101,000{minute}00,{values},0\n" for minute, values in enumerate(OHLCV)),
        S,
    ),
    "firstrate": (
        "ACME_full_1min_adjsplit.txt",
        f"2024-01-01 00:00:00,{OHLCV[0]}\n2024-01-01 00:01:00,{OHLCV[1]}\n",
        EST_S,
    ),
    "alpaca": (
        "bars.csv",
        "symbol,timestamp,open,high,low,close,volume,trade_count,vwap\n"
        f"ACME,2024-01-01T00:00:00Z,{OHLCV[0]},4,1.5\nACME,2024-01-01T00:01:00Z,{OHLCV[1]},4,1.5\n",
        S,
    ),
    "interactive-brokers": (
        "acme.csv",
        "date,open,high,low,close,volume,average,barCount\n"
        f"2024-01-01 00:00:00+00:00,{OHLCV[0]},1.5,4\n2024-01-01 00:01:00+00:00,{OHLCV[1]},1.5,4\n",
        S,
    ),
    "tradingview": (
        "BINANCE_BTCUSDT, 1.csv",
        f"time,open,high,low,close,Volume\n{S},{OHLCV[0]}\n{S + 60},{OHLCV[1]}\n",
        S,
    ),
    "cryptocompare": (
        "btc.csv",
        "time,high,low,open,volumefrom,volumeto,close,conversionType,conversionSymbol\n"
        f"{S},1.75,1.25,1.5,7,11,1.6,direct,\n{S + 60},1.7,1.5,1.6,9,14,1.5,direct,\n",
        S,
    ),
    "coinapi-ohlcv": (
        "btc.csv",
        "time_period_start,time_period_end,time_open,time_close,price_open,price_high,price_low,price_close,"
        "volume_traded,trades_count\n"
        + "".join(
            f"2024-01-01T00:0{at}:00.0000000Z,2024-01-01T00:0{at + 1}:00.0000000Z,,,{values},4\n"
            for at, values in enumerate(OHLCV)
        ),
        S,
    ),
    "bitfinex-candles": (
        "btc.csv",
        f"MTS,OPEN,CLOSE,HIGH,LOW,VOLUME\n{S}000,1.5,1.6,1.75,1.25,7\n{S + 60}000,1.6,1.5,1.7,1.5,9\n",
        S,
    ),
    "trades-date-time": ("acme.csv", "Date,Time,Price,Size,Side\n2024-01-01,00:00:00.123,1.5,7,B\n", S),
    "bitmex-trades": (
        "20240101.csv",
        "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional\n"
        "2024-01-01D00:00:00.123000000,XBTUSD,Buy,7,1.5,PlusTick,x-1,466,4.66,7\n",
        S,
    ),
    "alpaca-trades": (
        "trades.csv",
        "symbol,timestamp,exchange,price,size,conditions,id,tape\n"
        "ACME,2024-01-01 00:00:00.123+00:00,V,1.5,7,\"['@', 'I']\",9,C\n",
        S,
    ),
    "coinapi-trades": (
        "btc.csv",
        "time_exchange;time_coinapi;guid;price;base_amount;taker_side\n"
        "2024-01-01T00:00:00.1230000;2024-01-01T00:00:00.1240000;5caec0c2-09f0;1.5;7;BUY\n",
        S,
    ),
    "hyperliquid-trades": ("btc.csv", f"coin,side,px,sz,time,hash,tid\nACME,B,1.5,7,{S}123,0x1,9\n", S),
    "trades": ("btc.csv", f"timestamp,price,size,side\n{S}123,1.5,7,buy\n", S),
    "tardis-trades": (
        "a.csv",
        "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n"
        f"deribit,BTC-PERPETUAL,{S}123000,{S}124000,1,buy,1.5,7\n",
        S,
    ),
    "binance-trades": ("BTCUSDT-trades-2024-01.csv", f"1,1.5,7,10.5,{S}123,False,True\n", S),
    "binance-aggtrades": ("BTCUSDT-aggTrades-2024-01.csv", f"1,1.5,7,1,2,{S}123,False,True\n", S),
    "bybit-trades": (
        "BTCUSDT2024-01-01.csv",
        "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional\n"
        f"{S}.1234,BTCUSDT,Buy,7,1.5,PlusTick,x-1,1.05e+09,7,10.5\n",
        S,
    ),
    "bybit-spot-trades": ("BTCUSDT_2024-01-01.csv", f"id,timestamp,price,volume,side,rpi\n1,{S}123,1.5,7,buy,0\n", S),
    "okx-trades": (
        "BTC-USDT-SWAP-trades-2024-01-01.csv",
        f"instrument_name,trade_id,side,price,size,created_time\nBTC-USDT-SWAP,1,buy,1.5,7,{S}123\n",
        S,
    ),
    "coinbase-trades": (
        "btc.csv",
        "time,trade_id,price,size,side\n2024-01-01T00:00:00.123Z,1,1.5,7,sell\n",
        S,
    ),
    "deribit-trades": (
        "btc.csv",
        "trade_seq,trade_id,timestamp,tick_direction,price,mark_price,instrument_name,index_price,direction,amount\n"
        f"1,9,{S}123,0,1.5,1.5,BTC-PERPETUAL,1.5,buy,7\n",
        S,
    ),
    "databento-trades": (
        "glbx.csv",
        "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,ts_in_delta,sequence,symbol\n"
        f"{S}123000001,{S}123000000,0,1,5,T,B,0,1.500000000,7,0,0,7,ACME\n",
        S,
    ),
    "massive-trades": (
        "2024-01-01.csv",
        "ticker,conditions,correction,exchange,id,participant_timestamp,price,sequence_number,sip_timestamp,size,tape\n"
        f"ACME,,0,4,1,{S}123000000,1.5,9,{S}123000001,7,1\n",
        S,
    ),
    "kraken-trades": ("XBTUSD.csv", f"{S},1.5,7\n", S),
    "quotes": ("btc.csv", f"timestamp,bid,ask,bid_size,ask_size\n{S}123,{BOOK}\n", S),
    "quotes-date-time": (
        "ibm.csv",
        "DATE,TIME_M,EX,SYM_ROOT,BID,BIDSIZ,ASK,ASKSIZ\n20240101,0:00:00.123,N,ACME,1.4,2,1.6,4\n",
        S,
    ),
    "truefx": ("EURUSD-2024-01.csv", "EUR/USD,20240101 00:00:00.123,1.4,1.6\n", S),
    "massive-option-quotes": (
        "2024-01-01.csv",
        "ticker,ask_exchange,ask_price,ask_size,bid_exchange,bid_price,bid_size,sequence_number,sip_timestamp\n"
        f"O:ACME240119C00100000,1,1.6,4,2,1.4,2,9,{S}123000000\nO:ACME240119C00100000,1,1.6,4,2,0.0,0,9,{S}124000000\n",
        S,
    ),
    "alpaca-quotes": (
        "quotes.csv",
        "symbol,timestamp,ask_exchange,ask_price,ask_size,bid_exchange,bid_price,bid_size,conditions,tape\n"
        "ACME,2024-01-01 00:00:00.123+00:00,V,1.6,4,V,1.4,2,['R'],C\n",
        S,
    ),
    "coinapi-quotes": (
        "btc.csv",
        "time_exchange;time_coinapi;ask_px;ask_sx;bid_px;bid_sx\n"
        "2024-01-01T00:00:00.1230000;2024-01-01T00:00:00.1240000;1.6;4;1.4;2\n",
        S,
    ),
    "tardis-quotes": ("a.csv", f"deribit,BTC-PERPETUAL,{S}123000,{S}124000,4,1.6,1.4,2\n", S),
    "depth": (
        "btc.csv",
        "timestamp,bid_price_0,ask_price_0,bid_size_0,ask_size_0,bid_price_1,ask_price_1,bid_size_1,ask_size_1\n"
        f"{S}123,{BOOK},1.3,,5,\n",
        S,
    ),
    "tardis-book-snapshot": (
        "a.csv",
        "exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,"
        "asks[1].price,asks[1].amount,bids[1].price,bids[1].amount\n"
        f"deribit,BTC-PERPETUAL,{S}123000,{S}124000,1.6,4,1.4,2,,,1.3,5\n",
        S,
    ),
    "binance-bookticker": ("BTCUSDT-bookTicker-2024-01-01.csv", f"1,1.4,2,1.6,4,{S}123,{S}124\n", S),
    "databento-mbp-1": (
        "glbx.csv",
        "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,ts_in_delta,sequence,"
        "bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_ct_00,ask_ct_00,symbol\n"
        f"{S}123000001,{S}123000000,1,1,5,A,B,0,1,3,0,0,7,1400000000,1600000000,2,4,1,1,ACME\n",
        S,
    ),
    "databento-mbp-10": (
        "glbx.csv",
        "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,ts_in_delta,sequence,"
        + "".join(f"bid_px_{n:02},ask_px_{n:02},bid_sz_{n:02},ask_sz_{n:02}," for n in range(10))
        + f"symbol\n{S}123000001,{S}123000000,10,1,5,A,B,0,1,3,0,0,7,1400000000,1600000000,2,4,"
        + "1300000000,9223372036854775807,5,0,"
        + "9223372036854775807,9223372036854775807,0,0," * 8
        + "ACME\n",
        S,
    ),
    "databento-bbo": (
        "glbx.csv",
        "ts_recv,ts_event,rtype,publisher_id,instrument_id,side,price,size,flags,sequence,"
        "bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_ct_00,ask_ct_00,symbol\n"
        f"{S}123000000,{S}000000000,195,1,5,N,,,0,7,1400000000,1600000000,2,4,1,1,ACME\n",
        S,
    ),
    "massive-quotes": (
        "2024-01-01.csv",
        "ticker,ask_exchange,ask_price,ask_size,bid_exchange,bid_price,bid_size,participant_timestamp,sip_timestamp\n"
        f"ACME,1,1.6,4,2,1.4,2,{S}123000000,{S}123000001\n",
        S,
    ),
    "dukascopy-ticks": (
        "EURUSD_Ticks_01.01.2024-01.01.2024.csv",
        "Gmt time,Ask,Bid,AskVolume,BidVolume\n01.01.2024 00:00:00.123,1.6,1.4,4,2\n",
        S,
    ),
    "histdata-ticks": ("DAT_ASCII_EURUSD_T_202401.csv", "20240101 000000123,1.4,1.6,0\n", EST_S),
    "metatrader-ticks": (
        "EURUSD_202401010000_202401010001.csv",
        "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>\n2024.01.01\t00:00:00.123\t1.4\t1.6\t\t\t6\n",
        S,
    ),
}
BY_NAME = {layout.name: layout for layout in ALL_LAYOUTS}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_file_as_its_vendor_writes_it_is_recognised_and_read_exactly(tmp_path: Path, name: str) -> None:
    layout, (file, text, second) = BY_NAME[name], SAMPLES[name]
    path = tmp_path / file
    path.write_text(text)
    instrument = f"ACME.{layout.venue}" if layout.only_by_name or (layout.kind != "bars" and not layout.venue) else None
    if "symbol" in layout.columns or layout.matches_name(file):
        has_symbol = layout.required.count("symbol") or layout.matches_name(file) or "symbol" in text or "SYM" in text
        instrument = None if has_symbol else "ACME.X"
    read = ReadOptions(layout=name if layout.only_by_name else None)

    inspection = inspect_files(path, instrument, read)

    assert (inspection.files[0].layout, inspection.refused) == (name, None)
    if layout.kind == "bars":
        bars = load_bar_files(path, instrument, read)
        assert (bars.ts_event[0], bars.interval_ns) == ((second + 60) * 10**9, 60 * 10**9)
        columns = [bars.prices(of) for of in ("open", "high", "low", "close")] + [bars.volumes()]
        assert [tuple(row) for row in zip(*columns, strict=True)] == [tuple(map(float, row)) for row in BARS]
        return
    data = load_files(path, instrument, read) if layout.kind == "trades" else load_quotes(path, instrument, read)
    offset = {"bybit-trades": 123_400_000, "kraken-trades": 0}.get(name, 123_000_000)
    assert data.ts_event.tolist() == [second * 10**9 + offset]
    steps = inspection.head[0]
    if layout.kind == "trades":
        assert (steps["price"], steps["size"]) == ("1.5", "7")
        assert steps["side"] == ("+0" if "side" not in layout.columns else "+1")
    else:
        sizes = BOOK.split(",")[2:] if "bid_size" in layout.columns else ["1000000"] * 2
        assert [steps[of] for of in ("bid_price", "ask_price", "bid_size", "ask_size")] == ["1.4", "1.6", *sizes]
    if isinstance(data, Depth):
        assert [side[0, :3].tolist() for side in (data.bid_prices, data.bid_sizes)] == [[14, 13, 0], [2, 5, 0]]
        assert [side[0, :3].tolist() for side in (data.ask_prices, data.ask_sizes)] == [[16, 0, 0], [4, 0, 0]]


def test_names_of_layouts_are_unique_and_documented() -> None:
    page = (PROJECT / "docs/data-formats.md").read_text()

    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \| (bars|trades|quotes) \|", page, re.MULTILINE)

    assert rows == [(layout.name, layout.title, layout.kind) for layout in ALL_LAYOUTS]
    assert len(BY_NAME) == len(ALL_LAYOUTS)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from([b"", b"\x00", b"\x8d", b",", b"\n", b"9", b"-", b"e", b'"'])),
        min_size=1,
        max_size=3,
    ),
)
def test_a_damaged_file_is_read_or_refused_in_a_sentence(name: str, damages: list[tuple[int, bytes]]) -> None:
    file, text, _ = SAMPLES[name]
    content = text.encode()
    for place, damage in damages:
        content = content[: place % len(content)] + damage + content[place % len(content) + 1 :]
    with TemporaryDirectory() as folder:
        path = Path(folder) / file
        path.write_bytes(content)
        try:
            inspection = inspect_files(path, "ACME.X", ReadOptions())
            outcome = inspection.refused or f"{file}: {inspection.rows} rows"
        except BadData as error:
            outcome = str(error)
    assert outcome.startswith(f"{file}: ")
    assert len(outcome) < 2_000
