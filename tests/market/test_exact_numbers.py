"""No loader alters a number: catalogs and CSV files of all precisions, compared as decimals."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("nautilus_trader", reason="catalogs need nautilus_trader")

from nautilus_trader.model.data import Bar, BarType, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import InstrumentId, TradeId
from nautilus_trader.model.objects import FIXED_PRECISION, Price, Quantity
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from nautilus_torchserve.features.bar import bar_columns
from nautilus_torchserve.features.tick import tick_features
from nautilus_torchserve.market.bars.bars import PRICES
from nautilus_torchserve.market.bars.catalog import load_catalog_bars
from nautilus_torchserve.market.bars.load import load_bar_files
from nautilus_torchserve.market.bars.simulator import simulate_bars
from nautilus_torchserve.market.catalog_files import to_steps
from nautilus_torchserve.market.trades.catalog import load_catalog
from nautilus_torchserve.market.trades.load import load_files
from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import BadData, Instrument, Trades, implied_quotes
from nautilus_torchserve.trading.backtest.bars.catalog import bar_objects
from nautilus_torchserve.trading.instruments.instruments import quote_ticks, trade_ticks

START = 1_704_067_200_000_000_000
SECOND = 10**9


DIGITS = 13
"""NautilusTrader's prices end at 1.7e13."""


def files(draw: st.DrawFn, columns: int) -> list[list[list[Decimal]]]:
    """Rows of several files, the numbers of a file in one precision, all below 10**DIGITS steps of the finest."""
    finest = draw(st.integers(0, FIXED_PRECISION))
    coarsest = max(finest - DIGITS + 1, 0)
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        precision = draw(st.integers(coarsest, finest))
        number = st.integers(1, 10 ** (DIGITS - finest + precision) - 1).map(partial(decimal, precision=precision))
        rows.append(draw(st.lists(st.lists(number, min_size=columns, max_size=columns), min_size=1, max_size=3)))
    return rows


def decimal(steps: int, precision: int) -> Decimal:
    return Decimal(steps).scaleb(-precision)


def values(steps: NDArray[np.int64], precision: int) -> list[Decimal]:
    return [Decimal(step).scaleb(-precision) for step in steps.tolist()]


def price(value: Decimal) -> Price:
    return Price.from_str(f"{value:f}")


def quantity(value: Decimal) -> Quantity:
    return Quantity.from_str(f"{value:f}")


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_catalog_of_several_precisions_is_read_and_written_as_it_is(data: st.DataObject) -> None:
    prices, sizes = (files(data.draw, 1) for _ in range(2))
    instrument_id = InstrumentId.from_str("SOLUSDT.BINANCE")
    ticks, at = [], START
    for of_price, of_size in zip(prices, sizes, strict=False):
        file = []
        for (one,), (size,) in zip(of_price, of_size, strict=False):
            at += SECOND
            file.append(
                TradeTick(instrument_id, price(one), quantity(size), AggressorSide.BUYER, TradeId(f"{at}"), at, at)
            )
        ticks.append(file)

    with TemporaryDirectory() as folder:
        for file in ticks:
            ParquetDataCatalog(folder).write_data(file)
        trades = load_catalog(Path(folder))
        objects = trade_ticks(trades)
        bid, _ = implied_quotes(trades)
        quotes = quote_ticks(trades)

    written = [tick for file in ticks for tick in file]
    instrument = trades.instrument
    assert values(trades.price, instrument.price_precision) == [tick.price.as_decimal() for tick in written]
    assert values(trades.size, instrument.size_precision) == [tick.size.as_decimal() for tick in written]
    assert instrument.price_precision == max(tick.price.precision for tick in written)
    assert [tick.price.as_decimal() for tick in objects] == [tick.price.as_decimal() for tick in written]
    assert [tick.size.as_decimal() for tick in objects] == [tick.size.as_decimal() for tick in written]
    assert [quote.bid_price.as_decimal() for quote in quotes] == values(bid, instrument.price_precision)
    assert [quote.ask_size.as_decimal() for quote in quotes] == [tick.size.as_decimal() for tick in written]


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_catalog_of_bars_of_several_precisions_is_read_and_written_as_it_is(data: st.DataObject) -> None:
    rows, volumes = files(data.draw, 4), files(data.draw, 1)
    bar_type = BarType.from_str("SOLUSDT.BINANCE-1-SECOND-LAST-EXTERNAL")
    written, at = [], START
    with TemporaryDirectory() as folder:
        for of_prices, of_volume in zip(rows, volumes, strict=False):
            file = []
            for cells, (volume,) in zip(of_prices, of_volume, strict=False):
                at += SECOND
                low, first, last, high = map(price, sorted(cells))
                file.append(Bar(bar_type, first, high, low, last, quantity(volume), at, at))
            ParquetDataCatalog(folder).write_data(file)
            written += file
        bars = load_catalog_bars(Path(folder))

    for name in (*PRICES, "volume"):
        precision = bars.instrument.size_precision if name == "volume" else bars.instrument.price_precision
        expected = [getattr(bar, name).as_decimal() for bar in written]
        assert values(getattr(bars, name), precision) == expected
        assert [getattr(bar, name).as_decimal() for bar in bar_objects(bars, bar_type)] == expected
    floats = bars.prices("close").tolist()
    assert floats == [float(bar.close.as_decimal()) for bar in written]  # rounded once


def test_one_file_whose_rows_are_finer_than_its_metadata_says_is_read_exactly(tmp_path: Path) -> None:
    instrument_id = InstrumentId.from_str("SOLUSDT.BINANCE")
    ticks = [
        TradeTick(instrument_id, Price.from_str(one), quantity(Decimal(1)), AggressorSide.SELLER, TradeId(one), at, at)
        for at, one in enumerate(("142.1", "142.07", "142.0625"), START)
    ]
    ParquetDataCatalog(tmp_path).write_data(ticks)

    trades = load_catalog(tmp_path)

    assert trades.instrument.price_precision == 4
    assert values(trades.price, 4) == [Decimal("142.1"), Decimal("142.07"), Decimal("142.0625")]


def test_a_value_beyond_int64_is_refused_by_name(tmp_path: Path) -> None:
    instrument_id = InstrumentId.from_str("SOLUSDT.BINANCE")
    for at, one in enumerate(("0.0000000000000001", "1000.5"), START):
        tick = TradeTick(
            instrument_id, Price.from_str(one), quantity(Decimal(1)), AggressorSide.SELLER, TradeId(one), at, at
        )
        ParquetDataCatalog(tmp_path).write_data([tick])

    expected = r"row 2 \(2024-01-01T.*Z\): expected price below 2\*\*63 steps of 1e-16, got 1000.5"
    with pytest.raises(BadData, match=expected):
        load_catalog(tmp_path)


@given(
    st.lists(st.integers(-(2**127), 2**127 - 1) | st.integers(-(10**12), 10**12).map(lambda n: n * 10**9), min_size=1),
    st.integers(0, 16),
    st.sampled_from([8, 16]),
)
def test_stored_integers_are_divided_exactly_or_refused(raws: list[int], precision: int, width: int) -> None:
    decimals = {8: 9, 16: 16}[width]
    raws, precision = [raw >> (128 - 8 * width) for raw in raws], min(precision, decimals)
    stored = np.array([list(raw.to_bytes(width, "little", signed=True)) for raw in raws], dtype=np.uint8)
    needed = next(p for p in range(precision, decimals + 1) if all(raw % 10 ** (decimals - p) == 0 for raw in raws))
    expected = [raw // 10 ** (decimals - needed) for raw in raws]
    refused: list[int] = []

    def overflow(column: int, row: int, text: str) -> Exception:
        refused.append(row)
        assert Fraction(text) == Fraction(raws[row], 10**decimals)
        return OverflowError

    if max(map(abs, expected)) < 2**63:
        steps, actual = to_steps([stored], precision, overflow)
        assert (steps[0].tolist(), actual) == (expected, needed)
    else:
        with pytest.raises(OverflowError):
            to_steps([stored], precision, overflow)
        assert refused == [next(row for row, value in enumerate(expected) if abs(value) >= 2**63)]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_csv_files_of_all_precisions_are_read_as_they_are(data: st.DataObject) -> None:
    rows = [row for file in files(data.draw, 6) for row in file]
    trades = "".join(f"{at},{row[0]:f},{row[1]:f},0,{1_704_067_200_000 + at},true\n" for at, row in enumerate(rows, 1))
    bars = "".join(
        f"{1_704_067_200 + at},{row[2]:f},{row[3]:f},{row[4]:f},{row[5]:f},1\n" for at, row in enumerate([*rows, *rows])
    )

    with TemporaryDirectory() as folder:
        path, of_bars = Path(folder) / "SOLUSDT-trades-2024-01.csv", Path(folder) / "sol.csv"
        path.write_text(trades)
        of_bars.write_text(bars)
        loaded, loaded_bars = load_files(path), load_bar_files(of_bars)

    assert values(loaded.price, loaded.instrument.price_precision) == [row[0] for row in rows]
    assert values(loaded.size, loaded.instrument.size_precision) == [row[1] for row in rows]
    for column, name in enumerate(PRICES, 2):
        actual = values(getattr(loaded_bars, name), loaded_bars.instrument.price_precision)
        assert actual == [row[column] for row in rows] * 2


def finer(trades: Trades, decimals: int) -> Trades:
    """The same values in steps that are so many decimals finer."""
    instrument = trades.instrument
    return replace(
        trades,
        instrument=Instrument(
            instrument.symbol,
            instrument.venue,
            instrument.price_precision + decimals,
            instrument.size_precision + decimals,
        ),
        price=trades.price * 10**decimals,
        size=trades.size * 10**decimals,
    )


@given(st.integers(0, 2**32), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_features_do_not_depend_on_the_precision_that_values_are_stored_in(seed: int, decimals: int) -> None:
    """Every sum and product below 2**53 is exact, so that each feature is one rounded division of the same numbers."""
    trades = simulate(80, seed)
    coarse, fine = (
        tick_features(each.price, each.size, each.side, each.ts_event) for each in (trades, finer(trades, decimals))
    )
    np.testing.assert_array_equal(coarse.view(np.uint32), fine.view(np.uint32))

    bars = simulate_bars(60, seed)
    stored: list[Callable[[str], NDArray[np.float64]]] = [
        lambda name: getattr(bars, name) / 10.0**2,
        lambda name: (getattr(bars, name) * 10**decimals) / 10.0 ** (2 + decimals),
    ]
    one, other = (bar_columns(np.stack([of(name) for name in (*PRICES, "volume")], axis=1)) for of in stored)
    np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))
