"""Layouts of files of quotes; of those that fit equally well the first one is taken."""

import re

from nautilus_torchserve.market.layouts.layout import Layout
from nautilus_torchserve.market.layouts.trades import TARDIS_VENUES

QUOTES = (
    Layout(
        name="quotes",
        title="quotes",
        kind="quotes",
        documented="no vendor's: docs/data-formats.md",
        columns={
            "time": ("timestamp", "time", "date", "datetime", "ts_event", "ts"),
            "received": ("ts_init", "received", "local_timestamp"),
            "symbol": ("symbol", "ticker", "instrument", "pair"),
            "bid_price": ("bid_price", "bid", "best_bid"),
            "ask_price": ("ask_price", "ask", "best_ask"),
            "bid_size": ("bid_size", "bid_amount", "bid_qty", "bid_quantity", "bid_volume"),
            "ask_size": ("ask_size", "ask_amount", "ask_qty", "ask_quantity", "ask_volume"),
        },
        optional=frozenset({"received", "symbol"}),
        example="BTCUSDT.csv",
    ),
    Layout(
        name="tardis-quotes",
        title="Tardis quotes",
        kind="quotes",
        documented="docs.tardis.dev/downloadable-csv-files#quotes",
        columns={
            "exchange": ("exchange",),
            "symbol": ("symbol",),
            "time": ("timestamp",),
            "received": ("local_timestamp",),
            "ask_size": ("ask_amount",),
            "ask_price": ("ask_price",),
            "bid_price": ("bid_price",),
            "bid_size": ("bid_amount",),
        },
        bare=(
            (
                *("exchange", "symbol", "timestamp", "local_timestamp"),
                *("ask_amount", "ask_price", "bid_price", "bid_amount"),
            ),
        ),
        units=("milliseconds", "microseconds"),
        venues=TARDIS_VENUES,
        example="deribit_quotes_2020-04-01_BTC-PERPETUAL.csv.gz",
    ),
    Layout(
        name="binance-bookticker",
        title="Binance bookTicker",
        kind="quotes",
        documented="github.com/binance/binance-public-data",
        columns={
            "id": ("update_id",),
            "bid_price": ("best_bid_price",),
            "bid_size": ("best_bid_qty",),
            "ask_price": ("best_ask_price",),
            "ask_size": ("best_ask_qty",),
            "time": ("transaction_time",),
            "received": ("event_time",),
        },
        bare=(
            (
                *("update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty"),
                *("transaction_time", "event_time"),
            ),
        ),
        units=("milliseconds", "microseconds"),
        venue="BINANCE",
        file_name=re.compile(r"(?P<symbol>\w+)-bookTicker\b"),
        example="BTCUSDT-bookTicker-2024-01-01.zip",
    ),
    Layout(
        name="databento-mbp-1",
        title="Databento MBP-1",
        kind="quotes",
        documented="databento.com/docs/schemas/mbp-1",
        columns={
            "received": ("ts_recv",),
            "time": ("ts_event",),
            "bid_price": ("bid_px_00",),
            "ask_price": ("ask_px_00",),
            "bid_size": ("bid_sz_00",),
            "ask_size": ("ask_sz_00",),
            "symbol": ("symbol",),
        },
        optional=frozenset({"symbol"}),
        ignored=(
            *("rtype", "publisher_id", "instrument_id", "action", "side", "depth", "price", "size", "flags"),
            *("ts_in_delta", "sequence", "bid_ct_00", "ask_ct_00"),
        ),
        units=("nanoseconds",),
        raw_decimals=9,
    ),
    Layout(
        name="massive-quotes",
        title="Massive (Polygon) quotes",
        kind="quotes",
        documented="massive.com/docs/flat-files/stocks/quotes",
        columns={
            "symbol": ("ticker",),
            "time": ("participant_timestamp",),
            "received": ("sip_timestamp",),
            "bid_price": ("bid_price",),
            "ask_price": ("ask_price",),
            "bid_size": ("bid_size",),
            "ask_size": ("ask_size",),
        },
        ignored=(
            "ask_exchange",
            "bid_exchange",
            "conditions",
            "indicators",
            "sequence_number",
            "tape",
            "trf_timestamp",
        ),
        units=("nanoseconds",),
    ),
    Layout(
        name="dukascopy-ticks",
        title="Dukascopy ticks",
        kind="quotes",
        documented="www.dukascopy.com/swiss/english/marketwatch/historical",
        columns={
            "time": ("gmt time", "local time"),
            "ask_price": ("ask",),
            "bid_price": ("bid",),
            "ask_size": ("askvolume", "ask volume"),
            "bid_size": ("bidvolume", "bid volume"),
        },
        timezone="UTC",
        day_first=True,
        venue="DUKASCOPY",
        file_name=re.compile(r"(?P<symbol>[A-Z0-9.]+)_Ticks_"),
        example="EURUSD_Ticks_01.02.2024-01.02.2024.csv",
    ),
)
"""Layouts of quotes."""
