from pathlib import Path

import pytest

pytest.importorskip("nautilus_trader", reason="catalogs need nautilus_trader")

from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from nautilus_torchserve.market.bars.aggregate import aggregate
from nautilus_torchserve.market.bars.bars import PRICES, Bars
from nautilus_torchserve.market.bars.catalog import load_catalog_bars
from nautilus_torchserve.market.bars.checks import check_bars, examine
from nautilus_torchserve.market.bars.load import load_bars
from nautilus_torchserve.market.bars.simulator import MINUTE_NS, simulate_bars
from nautilus_torchserve.market.read_options import ReadOptions
from nautilus_torchserve.market.trades.trades import BadData, Instrument

GOOD = simulate_bars(30, instrument=Instrument("BTC-PERP", "DERIBIT", 2, 3))


def write(folder: Path, bar_type: str, bars: Bars = GOOD) -> None:
    def price(name: str, row: int) -> Price:
        return Price(bars.prices(name)[row], bars.instrument.price_precision)

    ParquetDataCatalog(folder).write_data(
        [
            Bar(
                BarType.from_str(bar_type),
                *(price(name, row) for name in PRICES),
                Quantity(bars.volumes()[row], bars.instrument.size_precision),
                int(bars.ts_event[row]),
                int(bars.ts_event[row]) + 7,
            )
            for row in range(len(bars))
        ]
    )


def test_a_catalogs_only_bars_need_not_be_named(tmp_path: Path) -> None:
    write(tmp_path, "BTC-PERP.DERIBIT-1-MINUTE-LAST-EXTERNAL")

    bars = check_bars(load_catalog_bars(tmp_path))

    assert bars.source == f"{tmp_path.name} (BTC-PERP.DERIBIT-1-MINUTE-LAST-EXTERNAL)"
    assert not bars.simulated
    assert bars.instrument == GOOD.instrument
    assert bars.sha256 == GOOD.sha256
    assert not examine(bars).found


def test_bars_are_chosen_by_instrument_and_interval(tmp_path: Path) -> None:
    fives = aggregate(GOOD, 5 * MINUTE_NS)
    write(tmp_path, "BTC-PERP.DERIBIT-1-MINUTE-LAST-EXTERNAL")
    write(tmp_path, "BTC-PERP.DERIBIT-5-MINUTE-LAST-EXTERNAL", fives)
    write(tmp_path, "BTC-PERP.DERIBIT-100-TICK-LAST-EXTERNAL")
    write(tmp_path, "AUD/USD.SIM-1-MINUTE-BID-EXTERNAL")

    assert load_catalog_bars(tmp_path, "BTC-PERP.DERIBIT", 5 * MINUTE_NS).sha256 == fives.sha256
    assert load_catalog_bars(tmp_path, "BTC-PERP.DERIBIT", MINUTE_NS).sha256 == GOOD.sha256
    assert load_catalog_bars(tmp_path, "BTC-PERP.DERIBIT", 3 * MINUTE_NS).sha256 == GOOD.sha256
    assert load_catalog_bars(tmp_path, "BTC-PERP.DERIBIT", 15 * MINUTE_NS).sha256 == fives.sha256
    assert load_catalog_bars(tmp_path, "AUD/USD.SIM").instrument.instrument_id == "AUD/USD.SIM"


def test_longer_bars_are_made_of_the_catalogs(tmp_path: Path) -> None:
    write(tmp_path, "AUD/USD.SIM-1-MINUTE-MID-INTERNAL")

    bars = load_bars(tmp_path, bars=0, seed=0, instrument_id="AUD/USD.SIM", interval_ns=15 * MINUTE_NS)

    assert (len(bars), bars.interval_ns) == (2, 15 * MINUTE_NS)
    assert bars.volume.tolist() == aggregate(GOOD, 15 * MINUTE_NS).volume.tolist()


@pytest.mark.parametrize(
    ("instrument_id", "interval_ns", "message"),
    [
        (None, None, r"minutes, hours or days, got several of AUDUSD.*-MINUTE-BID.*MINUTE-LAST.*MINUTE-MID"),
        ("BTC-PERP.DERIBIT", MINUTE_NS, r"DERIBIT that make up 60 s, got several of .*LAST-EXTERNAL, .*MID"),
        ("ETH.DERIBIT", None, r"of ETH\.DERIBIT, got none of AUDUSD\.SIM-1-.*BTC-PERP.*TICK"),
        ("AUD/USD.SIM", 90 * 10**9, r"of AUD/USD\.SIM that make up 90 s, got none of AUDUSD"),
    ],
)
def test_an_open_choice_lists_what_there_is(
    tmp_path: Path, instrument_id: str | None, interval_ns: int | None, message: str
) -> None:
    for bar_type in ("1-MINUTE-LAST", "1-MINUTE-MID", "100-TICK-LAST"):
        write(tmp_path, f"BTC-PERP.DERIBIT-{bar_type}-EXTERNAL")
    write(tmp_path, "AUD/USD.SIM-1-MINUTE-BID-EXTERNAL")

    with pytest.raises(BadData, match=message):
        load_catalog_bars(tmp_path, instrument_id, interval_ns)


def test_bars_of_bids_and_asks_are_chosen_by_their_price_type(tmp_path: Path) -> None:
    for price_type in ("BID", "ASK"):
        write(tmp_path, f"EUR/USD.IDEALPRO-1-MINUTE-{price_type}-EXTERNAL")

    bars = load_bars(tmp_path, 0, 0, "EUR/USD.IDEALPRO", read=ReadOptions(price_type="ASK"))

    assert "MINUTE-ASK" in bars.source
    with pytest.raises(BadData, match=r"got several of .*ASK.*BID.*; choose with --price-type"):
        load_bars(tmp_path, 0, 0, "EUR/USD.IDEALPRO")
    with pytest.raises(BadData, match=r"of EUR/USD.IDEALPRO with MID prices, got none of"):
        load_bars(tmp_path, 0, 0, "EUR/USD.IDEALPRO", read=ReadOptions(price_type="MID"))


@pytest.mark.parametrize("kind", ["100-TICK", "1-MONTH"])
def test_bars_of_no_fixed_length_in_time_are_refused(tmp_path: Path, kind: str) -> None:
    write(tmp_path, f"BTC-PERP.DERIBIT-{kind}-LAST-EXTERNAL")

    with pytest.raises(BadData, match=f"one kind of bars of seconds, .*, got none of BTC-PERP.DERIBIT-{kind}"):
        load_catalog_bars(tmp_path)


def test_a_folder_without_bars_is_no_catalog(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="catalog with bars, got a folder without data/bar"):
        load_catalog_bars(tmp_path)


def test_a_folder_that_is_no_bar_type_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data/bar/prices"
    folder.mkdir(parents=True)
    (folder / "2024.parquet").touch()

    with pytest.raises(BadData, match="expected bar types in data/bar, got 'prices'"):
        load_catalog_bars(tmp_path)
