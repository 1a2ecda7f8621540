"""Ticks of Dukascopy's data feed: a file an hour, ``EURUSD/2024/00/31/09h_ticks.bi5``, compressed by LZMA.

Source: datafeed.dukascopy.com as its clients read it (github.com/Leo4815162342/dukascopy-node). The folders say which
instrument and hour a file is of, with months from 00. A record has 20 bytes: ms since the hour began, ask and bid in
points, and their sizes in millions.
"""

import re

import numpy as np

from nautilus_torchserve.market.bad_data import BadData

PATH = re.compile(
    r".*?(?P<symbol>[A-Za-z0-9]+)/(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)/(?P<hour>\d\d)h_ticks\.bi5"
)
RECORD = np.dtype([("ms", ">u4"), ("ask", ">u4"), ("bid", ">u4"), ("ask_size", ">f4"), ("bid_size", ">f4")])
HEADER = ["symbol", "gmt time", "ask", "bid", "ask volume", "bid volume"]
"""Names of the columns, as the layout ``dukascopy-ticks`` has them."""
FIVE_DECIMALS = {"AUD", "CAD", "CHF", "EUR", "GBP", "NZD", "USD"}
"""Currencies whose pairs are quoted in points of 0.00001."""
THREE_DECIMALS = re.compile("(AUD|CAD|CHF|EUR|GBP|NZD|USD)JPY|XAUUSD|XAGUSD")
"""Instruments that are quoted in points of 0.001."""


def read_bi5(name: str, path: str, content: bytes) -> list[list[str]]:
    """Return the ticks as rows of text under `HEADER`, times as Unix ms.

    Parameters
    ----------
    name : str
        Name of the file, for messages.
    path : str
        Its path with ``/``, of which the last five parts are read.
    content : bytes
        Decompressed.

    Raises
    ------
    BadData
        The path is another one, the instrument's point is not known, or the content is damaged.
    """
    match = PATH.fullmatch(path)
    if match is None:
        raise BadData(f"{name}: expected a path like EURUSD/2024/00/31/09h_ticks.bi5, months from 00, got {path!r}")
    symbol = match["symbol"].upper()
    try:
        day = np.datetime64(f"{match['year']}-{int(match['month']) + 1:02d}-{match['day']}T{match['hour']}:00:00", "ms")
    except ValueError:
        raise BadData(f"{name}: expected year, month from 00, day and hour in its path, got {path!r}") from None
    decimals = _decimals(name, symbol)
    if rest := len(content) % RECORD.itemsize:
        raise BadData(f"{name}: expected records of {RECORD.itemsize} bytes, got {rest} more; download it again")
    ticks = np.frombuffer(content, RECORD)
    if len(ticks) and ticks["ms"].max() >= 3_600_000:
        row = int((ticks["ms"] >= 3_600_000).argmax())
        raise BadData(
            f"{name}: row {row + 1}: expected a time within the hour, got {ticks['ms'][row]} ms after it began"
        )
    stamps = day.astype(np.int64) + ticks["ms"].astype(np.int64)
    sizes = zip(map(str, ticks["ask_size"]), map(str, ticks["bid_size"]), strict=True)
    return [
        [symbol, str(stamp), _price(ask, decimals), _price(bid, decimals), *size]
        for stamp, ask, bid, size in zip(stamps, ticks["ask"].tolist(), ticks["bid"].tolist(), sizes, strict=True)
    ]


def _decimals(name: str, symbol: str) -> int:
    if THREE_DECIMALS.fullmatch(symbol):
        return 3
    if len(symbol) == 6 and {symbol[:3], symbol[3:]} <= FIVE_DECIMALS:
        return 5
    raise BadData(
        f"{name}: expected a pair of {', '.join(sorted(FIVE_DECIMALS))} or JPY, XAUUSD or XAGUSD, whose point is "
        f"known, got {symbol}; take the CSV of Dukascopy's page instead"
    )


def _price(points: int, decimals: int) -> str:
    whole, fraction = divmod(points, 10**decimals)
    return f"{whole}.{fraction:0{decimals}d}"
