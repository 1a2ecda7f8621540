"""Dukascopy's hours of ticks are read by the path that they lie in."""

import lzma
from pathlib import Path

import numpy as np
import pytest

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.bi5 import RECORD
from nautilus_torchserve.market.quotes.load import load_quotes

HOUR = np.array([(123, 110_436, 110_433, 0.75, 1.5), (60_000, 110_437, 110_433, 0.1, 2.25)], RECORD)
NINE = 1_706_691_600
"""2024-01-31T09:00:00Z."""


def written(folder: Path, path: str, content: bytes) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def compressed(ticks: bytes) -> bytes:
    return lzma.compress(ticks, format=lzma.FORMAT_ALONE)


def test_hours_are_joined_and_hours_without_ticks_left_out(tmp_path: Path) -> None:
    day = written(tmp_path, "EURUSD/2024/00/31/09h_ticks.bi5", compressed(HOUR.tobytes())).parent
    written(day, "10h_ticks.bi5", b"")
    written(day, "11h_ticks.bi5", compressed(HOUR.tobytes()))

    for data in (day, tmp_path / "EURUSD/**/*.bi5"):
        quotes = load_quotes(data)
        assert quotes.instrument.instrument_id == "EURUSD.DUKASCOPY"
        assert quotes.ts_event.tolist() == [
            (NINE + hour) * 10**9 + ms * 10**6 for hour in (0, 7_200) for ms in (123, 60_000)
        ]
        assert (quotes.bid_price.tolist(), quotes.ask_price.tolist()) == ([110_433] * 4, [110_436, 110_437] * 2)
        assert (quotes.bid_size.tolist(), quotes.ask_size.tolist()) == ([150, 225] * 2, [75, 10] * 2)


def test_yen_and_gold_have_three_decimals(tmp_path: Path) -> None:
    quotes = load_quotes(written(tmp_path, "USDJPY/2024/00/31/09h_ticks.bi5", compressed(HOUR.tobytes())))

    assert (quotes.instrument.price_precision, quotes.ask_price.tolist()) == (3, [110_436, 110_437])


LATE = np.array([(3_600_000, 2, 1, 1, 1)], RECORD)


@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        ("09h_ticks.bi5", compressed(HOUR.tobytes()), "expected a path like EURUSD/2024/00/31/09h_ticks.bi5"),
        ("EURUSD/2024/12/31/09h_ticks.bi5", compressed(HOUR.tobytes()), "month from 00"),
        ("BTCUSD/2024/00/31/09h_ticks.bi5", compressed(HOUR.tobytes()), "whose point is known, got BTCUSD"),
        ("EURUSD/2024/00/31/09h_ticks.bi5", compressed(HOUR.tobytes()[:-3]), "got 17 more; download it again"),
        ("EURUSD/2024/00/31/09h_ticks.bi5", compressed(HOUR.tobytes())[:-9], "unreadable data"),
        ("EURUSD/2024/00/31/09h_ticks.bi5", compressed(LATE.tobytes()), "row 1: .*got 3600000 ms after it began"),
        ("EURUSD/2024/00/31/09h_ticks.bi5", b"", "got an empty file"),
    ],
)
def test_what_is_no_hour_of_ticks_is_refused(tmp_path: Path, path: str, content: bytes, reason: str) -> None:
    with pytest.raises(BadData, match=reason):
        load_quotes(written(tmp_path, path, content))
