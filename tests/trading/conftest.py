"""A small market with one trade each 100 ms, and the real strategy run on predictions made for the test."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import small_trades
from nautilus_trader.model.identifiers import InstrumentId
from small_trades import MS, START
from trading_support import ENGINE_OPTIONS, SIZE, Traded, trade

from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.instruments.instruments import perpetual, quote_ticks, trade_ticks
from nautilus_torchserve.trading.prediction import Prediction, Status
from strategies.tick_strategy import TickStrategy, TickStrategyConfig
from support import call_script


@pytest.fixture(scope="session")
def small_market() -> Trades:
    """See `small_trades`."""
    return small_trades.small_market()


@pytest.fixture(scope="session")
def predict(small_market: Trades) -> Callable[..., Prediction]:
    """Make a prediction that arrives at a time in ms, 1 ms after its newest trade by default."""
    instrument_id = InstrumentId.from_str(small_market.instrument.instrument_id)

    def make(
        at_ms: float, buy: float, sell: float, hold: float, *, age_ns: int = MS, status: Status = Status.OK
    ) -> Prediction:
        arrival = START + int(at_ms * MS)
        return Prediction(
            ts_event=arrival - age_ns,
            ts_init=arrival,
            instrument_id=instrument_id,
            model="tick",
            version="1.0",
            archive_digest="0123456789abcdef",
            outputs={"buy": buy, "sell": sell, "hold": hold},
            feature_ts=arrival - age_ns,
            latency_ns=100_000,
            status=status,
        )

    return make


@pytest.fixture(scope="session")
def trade_on(small_market: Trades) -> Callable[..., Traded]:
    """Run the tick strategy in a real engine on predictions fed in as data."""
    instrument = perpetual(small_market.instrument, fee_bps=0.0)
    data = [
        trade_ticks(small_market),
        quote_ticks(small_market),
    ]  # in this order, as in nautilus_torchserve.trading.backtest.tick.settings

    def run(predictions: Sequence[Prediction], **options: Any) -> Traded:
        engine_options = {name: options.pop(name) for name in ENGINE_OPTIONS if name in options}
        strategy = TickStrategy(TickStrategyConfig(instrument_id=instrument.id, trade_size=SIZE, **options))
        return trade(strategy, instrument, data, predictions, **engine_options)

    return run


@pytest.fixture(scope="session")
def market() -> Trades:
    """The simulated trades that `eager_archive` was trained on."""
    return load(None, trades=6000, seed=1)


@pytest.fixture(scope="session")
def eager_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tick model that learnt that every move is worth trading, so that backtests see many orders."""
    pytest.importorskip("torch")
    from nautilus_torchserve.release.build.archive import build_archive

    folder = tmp_path_factory.mktemp("eager")
    options = ("--trades", "6000", "--epochs", "3", "--cost-bps", "0", "--out", folder / "run")
    result = call_script("scripts/train.py", "tick", *options)
    assert result.exit_code == 0, result.stderr
    return build_archive("tick", folder / "run", "1.0", folder).path


@pytest.fixture(scope="session")
def settings(eager_archive: Path) -> BacktestSettings:
    """In process, and on all trades."""
    return BacktestSettings(url=f"mar:{eager_archive}", in_sample=True)


@pytest.fixture(scope="session")
def price_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A price model that has not seen any bar."""
    from price_run import write_price_run

    from nautilus_torchserve.release.build.archive import build_archive

    folder = tmp_path_factory.mktemp("price")
    return build_archive("price", write_price_run(folder / "run"), "1.0", folder).path


@pytest.fixture(scope="session")
def bar_settings(price_archive: Path) -> BarBacktestSettings:
    """In process, and eager."""
    return BarBacktestSettings(url=f"mar:{price_archive}", min_confidence=0.5)
