from pathlib import Path

import pytest

pytest.importorskip("nautilus_trader", reason="catalogs need nautilus_trader")

from nautilus_trader.model.data import TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import TradeId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.test_kit.providers import TestInstrumentProvider

from nautilus_torchserve.market.trades.catalog import load_catalog
from nautilus_torchserve.market.trades.trades import BadData, check

SIDES = [AggressorSide.BUYER, AggressorSide.SELLER, AggressorSide.NO_AGGRESSOR]
START = 1_704_067_200_000_000_000


def write(folder: Path, instrument: Instrument, trades: int = 3) -> None:
    ticks = [
        TradeTick(
            instrument_id=instrument.id,
            price=instrument.make_price(1.25 + i / 100),
            size=instrument.make_qty(3 + i),
            aggressor_side=SIDES[i % 3],
            trade_id=TradeId(f"t{i}"),
            ts_event=START + i,
            ts_init=START + i + 5,
        )
        for i in range(trades)
    ]
    ParquetDataCatalog(folder).write_data([instrument])
    ParquetDataCatalog(folder).write_data(ticks)


def test_a_catalogs_only_instrument_need_not_be_named(tmp_path: Path) -> None:
    write(tmp_path, TestInstrumentProvider.btcusdt_binance())

    trades = check(load_catalog(tmp_path))

    assert trades.instrument.instrument_id == "BTCUSDT.BINANCE"
    assert (trades.instrument.price_precision, trades.instrument.size_precision) == (2, 6)
    assert trades.price.tolist() == [125, 126, 127]
    assert trades.size.tolist() == [3_000_000, 4_000_000, 5_000_000]
    assert trades.side.tolist() == [1, -1, 0]
    assert trades.ts_event.tolist() == [START, START + 1, START + 2]
    assert trades.ts_init.tolist() == [START + 5, START + 6, START + 7]
    assert trades.trade_id.tolist() == ["t0", "t1", "t2"]


def test_one_of_several_instruments_must_be_named(tmp_path: Path) -> None:
    write(tmp_path, TestInstrumentProvider.btcusdt_binance())
    write(tmp_path, TestInstrumentProvider.default_fx_ccy("AUD/USD"), trades=2)

    with pytest.raises(BadData, match=r"one instrument, got none of AUDUSD\.SIM, BTCUSDT\.BINANCE"):
        load_catalog(tmp_path)
    with pytest.raises(BadData, match=r"expected one of AUDUSD\.SIM, BTCUSDT\.BINANCE, got ETHUSDT\.BINANCE"):
        load_catalog(tmp_path, "ETHUSDT.BINANCE")
    assert load_catalog(tmp_path, "AUD/USD.SIM").instrument.instrument_id == "AUD/USD.SIM"
    assert len(load_catalog(tmp_path, "BTCUSDT.BINANCE")) == 3


def test_a_folder_without_trades_is_no_catalog(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="catalog with trades"):
        load_catalog(tmp_path)
