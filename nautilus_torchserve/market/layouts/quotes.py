"""Layouts of files of quotes; of those that fit equally well the first one is taken."""

import re

from nautilus_torchserve.market.layouts.layout import Layout
from nautilus_torchserve.market.layouts.trades import DATE_AND_CLOCK, NAMES, TARDIS_VENUES, TIMES
from nautilus_torchserve.market.quotes.quotes import LEVELS

_DEEPER = range(1, LEVELS)
"""Numbers of the levels behind the best one."""


def _levels(bid_price: str, ask_price: str, bid_size: str, ask_size: str) -> dict[str, tuple[str, ...]]:
    """Return the columns of all levels, given those of one with ``{}`` for its number, or ``{:02}``."""
    names = {"bid_price": bid_price, "ask_price": ask_price, "bid_size": bid_size, "ask_size": ask_size}
    best: dict[str, tuple[str, ...]] = {field: (name.format(0),) for field, name in names.items()}
    return best | {f"{field}_{level}": (name.format(level),) for level in _DEEPER for field, name in names.items()}


_OPTIONAL_LEVELS = frozenset(name for name in _levels("", "", "", "") if name[-1].isdigit())
_DATABENTO = _levels("bid_px_{:02}", "ask_px_{:02}", "bid_sz_{:02}", "ask_sz_{:02}")
_DATABENTO_BEST = {field: names for field, names in _DATABENTO.items() if field not in _OPTIONAL_LEVELS}
_DATABENTO_IGNORED = (
    *("rtype", "publisher_id", "instrument_id", "side", "depth", "price", "size", "flags", "ts_in_delta", "sequence"),
    *(f"{side}_ct_{level:02}" for side in ("bid", "ask") for level in range(LEVELS)),
)

NAMED_QUOTES = {
    **NAMES,
    "bid_price": ("bid_price", "bid", "best_bid", "bid_px"),
    "ask_price": ("ask_price", "ask", "best_ask", "ask_px"),
    "bid_size": ("bid_size", "bid_amount", "bid_qty", "bid_quantity", "bid_volume", "bid_sz", "bidsiz"),
    "ask_size": ("ask_size", "ask_amount", "ask_qty", "ask_quantity", "ask_volume", "ask_sz", "asksiz"),
}
NAMED_OPTIONAL = frozenset({"received", "symbol", "bid_size", "ask_size"})

QUOTES = (
    Layout(
        name="quotes",
        title="quotes",
        kind="quotes",
        documented="no vendor's: docs/data-formats.md; dukascopy-node has these columns, too",
        columns={"time": TIMES, **NAMED_QUOTES},
        optional=NAMED_OPTIONAL,
        example="BTCUSDT.csv",
    ),
    Layout(
        name="quotes-date-time",
        title="quotes with the time of day in a column of its own",
        kind="quotes",
        documented="no vendor's: docs/data-formats.md",
        columns={**DATE_AND_CLOCK, **NAMED_QUOTES},
        optional=NAMED_OPTIONAL,
        example="BTCUSDT.csv",
    ),
    Layout(
        name="depth",
        title="order book depth",
        kind="quotes",
        documented="no vendor's: docs/data-formats.md",
        columns={
            "time": TIMES,
            **NAMES,
            **_levels("bid_price_{}", "ask_price_{}", "bid_size_{}", "ask_size_{}"),
        },
        optional=frozenset({"received", "symbol", *_OPTIONAL_LEVELS}),
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
        name="tardis-book-snapshot",
        title="Tardis book snapshots",
        kind="quotes",
        documented="docs.tardis.dev/downloadable-csv-files#book_snapshot_5",
        columns={
            "exchange": ("exchange",),
            "symbol": ("symbol",),
            "time": ("timestamp",),
            "received": ("local_timestamp",),
            **_levels("bids[{}].price", "asks[{}].price", "bids[{}].amount", "asks[{}].amount"),
        },
        optional=_OPTIONAL_LEVELS,
        units=("milliseconds", "microseconds"),
        venues=TARDIS_VENUES,
        example="deribit_book_snapshot_5_2020-04-01_BTC-PERPETUAL.csv.gz",
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
            **_DATABENTO_BEST,
            "symbol": ("symbol",),
            "action": ("action",),
        },
        optional=frozenset({"symbol"}),
        ignored=_DATABENTO_IGNORED,
        units=("nanoseconds",),
        raw_decimals=9,
    ),
    Layout(
        name="databento-mbp-10",
        title="Databento MBP-10",
        kind="quotes",
        documented="databento.com/docs/schemas/mbp-10",
        columns={
            "received": ("ts_recv",),
            "time": ("ts_event",),
            **_DATABENTO,
            "symbol": ("symbol",),
            "action": ("action",),
        },
        optional=frozenset({"symbol"}),
        ignored=_DATABENTO_IGNORED,
        units=("nanoseconds",),
        raw_decimals=9,
    ),
    Layout(
        name="databento-bbo",
        title="Databento BBO",
        kind="quotes",
        documented="databento.com/docs/schemas/bbo: ts_recv is an interval's end, ts_event the time of the last trade",
        columns={
            "time": ("ts_recv",),
            **_DATABENTO_BEST,
            "symbol": ("symbol",),
        },
        optional=frozenset({"symbol"}),
        ignored=("ts_event", *_DATABENTO_IGNORED),
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
        name="massive-option-quotes",
        title="Massive (Polygon) quotes of options",
        kind="quotes",
        documented="massive.com/docs/flat-files/options/quotes: times of the SIP alone",
        columns={
            "symbol": ("ticker",),
            "time": ("sip_timestamp",),
            "bid_price": ("bid_price",),
            "ask_price": ("ask_price",),
            "bid_size": ("bid_size",),
            "ask_size": ("ask_size",),
        },
        ignored=("ask_exchange", "bid_exchange", "sequence_number"),
        units=("nanoseconds",),
    ),
    Layout(
        name="dukascopy-ticks",
        title="Dukascopy ticks",
        kind="quotes",
        documented="www.dukascopy.com/swiss/english/marketwatch/historical, and its data feed (`market.bi5`)",
        columns={
            "time": ("gmt time", "local time"),
            "ask_price": ("ask",),
            "bid_price": ("bid",),
            "ask_size": ("ask_volume",),
            "bid_size": ("bid_volume",),
            "symbol": ("symbol",),
        },
        optional=frozenset({"symbol"}),
        timezone="UTC",
        day_first=True,
        venue="DUKASCOPY",
        file_name=re.compile(r"(?P<symbol>[A-Z0-9.]+)_Ticks_"),
        example="EURUSD_Ticks_01.02.2024-01.02.2024.csv",
    ),
    Layout(
        name="histdata-ticks",
        title="HistData ticks",
        kind="quotes",
        documented="www.histdata.com/f-a-q/data-files-detailed-specification: EST, and a volume that is always 0",
        columns={"time": ("timestamp",), "bid_price": ("bid",), "ask_price": ("ask",)},
        ignored=("volume",),
        bare=(("timestamp", "bid", "ask", "volume"),),
        time_form=re.compile(r"\d{8} \d{9}"),
        timezone="Etc/GMT+5",
        file_name=re.compile(r"DAT_ASCII_(?P<symbol>[A-Z]+)_T_"),
        example="DAT_ASCII_EURUSD_T_202402.csv",
    ),
    Layout(
        name="metatrader-ticks",
        title="MetaTrader 5 ticks",
        kind="quotes",
        documented="www.metatrader5.com/en/terminal/help/trading_advanced/custom_instruments: a price that has not "
        "changed is left empty",
        columns={"time": ("date",), "clock": ("time",), "bid_price": ("bid",), "ask_price": ("ask",)},
        ignored=("last", "volume", "flags"),
        repeated=("bid_price", "ask_price"),
        file_name=re.compile(r"(?P<symbol>[^_]+)_\d{12}_\d{12}"),
        example="EURUSD_202402010900_202402021200.csv",
    ),
    Layout(
        name="truefx",
        title="TrueFX ticks",
        kind="quotes",
        documented="www.truefx.com/truefx-historical-downloads: times in UTC",
        columns={"symbol": ("pair",), "time": ("timestamp",), "bid_price": ("bid",), "ask_price": ("ask",)},
        bare=(("pair", "timestamp", "bid", "ask"),),
        time_form=re.compile(r"\d{8} \d{2}:\d{2}:\d{2}(\.\d+)?"),
        timezone="UTC",
    ),
    Layout(
        name="alpaca-quotes",
        title="Alpaca quotes",
        kind="quotes",
        documented="docs.alpaca.markets/reference/stockquotes, as alpaca-py has them",
        columns={
            "symbol": ("symbol",),
            "time": ("timestamp",),
            "bid_price": ("bid_price",),
            "ask_price": ("ask_price",),
            "bid_size": ("bid_size",),
            "ask_size": ("ask_size",),
        },
        optional=frozenset({"symbol"}),
        ignored=("ask_exchange", "bid_exchange", "conditions", "tape"),
    ),
    Layout(
        name="coinapi-quotes",
        title="CoinAPI quotes",
        kind="quotes",
        documented="docs.coinapi.io/flat-files-api: times in UTC, of the exchange and of receipt",
        columns={
            "time": ("time_exchange",),
            "received": ("time_coinapi",),
            "bid_price": ("bid_px",),
            "ask_price": ("ask_px",),
            "bid_size": ("bid_sx",),
            "ask_size": ("ask_sx",),
        },
        ignored=("id_site_coinapi",),
        timezone="UTC",
    ),
)
"""Layouts of quotes."""
