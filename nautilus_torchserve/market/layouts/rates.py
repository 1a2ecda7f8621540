"""Layouts of files of rates: funding of perpetuals, and the annual cost of borrowing what is sold short."""

import re

from nautilus_torchserve.market.layouts.layout import Layout
from nautilus_torchserve.market.layouts.trades import TARDIS_VENUES

TIMES = ("time", "timestamp", "date", "datetime", "ts", "funding_time", "fundingtime", "fundingratetimestamp")
SYMBOLS = ("symbol", "ticker", "instrument", "pair")

FUNDING = (
    Layout(
        name="funding",
        title="funding rates",
        kind="funding",
        documented="no vendor's: docs/backtesting.md; the REST interfaces of Binance and Bybit name them so, too",
        columns={"time": TIMES, "symbol": SYMBOLS, "rate": ("rate", "funding_rate", "fundingrate")},
        optional=frozenset({"symbol"}),
        bare=(("time", "rate"),),
    ),
    Layout(
        name="binance-funding",
        title="Binance funding rates",
        kind="funding",
        documented="data.binance.vision: futures/um/monthly/fundingRate",
        columns={
            "time": ("calc_time",),
            "interval": ("funding_interval_hours",),
            "rate": ("last_funding_rate",),
        },
        units=("milliseconds", "microseconds"),
        venue="BINANCE",
        file_name=re.compile(r"(?P<symbol>\w+)-fundingRate\b"),
        example="BTCUSDT-fundingRate-2024-01.zip",
    ),
    Layout(
        name="tardis-derivative-ticker",
        title="Tardis derivative tickers",
        kind="funding",
        documented="docs.tardis.dev/downloadable-csv-files#derivative_ticker",
        columns={
            "exchange": ("exchange",),
            "symbol": ("symbol",),
            "quoted": ("timestamp",),
            "time": ("funding_timestamp",),
            "rate": ("funding_rate",),
        },
        ignored=(
            *("local_timestamp", "predicted_funding_rate", "open_interest", "last_price", "index_price"),
            "mark_price",
        ),
        optional=frozenset({"exchange", "symbol"}),
        units=("milliseconds", "microseconds"),
        venues=TARDIS_VENUES,
        example="binance-futures_derivative_ticker_2024-01-01_BTCUSDT.csv.gz",
    ),
)
"""Layouts of funding rates: a share of the position's value, due at a time."""

BORROW = (
    Layout(
        name="borrow",
        title="annual borrow rates",
        kind="borrow",
        documented="no vendor's: docs/backtesting.md",
        columns={"time": TIMES, "symbol": SYMBOLS, "rate": ("annual_rate", "borrow_rate", "rate")},
        optional=frozenset({"symbol"}),
        bare=(("time", "annual_rate"),),
    ),
)
"""Layouts of annual borrow rates: each is in force from its time until the next one."""
