"""What a backtest is run with, and the NautilusTrader configs that follow from it."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from nautilus_trader.backtest.config import (
    BacktestDataConfig,
    BacktestEngineConfig,
    BacktestRunConfig,
    BacktestVenueConfig,
    ImportableFillModelConfig,
)
from nautilus_trader.common.config import ImportableActorConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.model.data import QuoteTick, TradeTick
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.trading.config import ImportableStrategyConfig

from strategies.checks import expect
from strategies.inference_actor import InferenceActorConfig
from strategies.tick_strategy import TickStrategyConfig


@dataclass(frozen=True)
class BacktestSettings:
    """One backtest's settings.

    Raises
    ------
    BadSetting
        One of them makes no sense.
    """

    url: str
    """The inference port, ``http://`` or ``https://``, or ``mar:PATH`` of an archive."""
    model: str = "tick"
    """The model's name."""
    version: str | None = None
    """A fixed version; None takes the server's default one and keeps to it for the whole run."""
    token_env: str = "TORCHSERVE_TOKEN"
    """Environment variable that holds TorchServe's inference token."""
    timeout_s: float = 5.0
    """Longest wait for one answer, seconds of wall time."""
    max_failures: int = 10
    """Requests that may fail one after another before the actor stops asking."""
    latency_ns: int = 1_000_000
    """Simulated time from a trade's receipt until its prediction takes effect and an order on it is at the venue."""
    trade_size: Decimal = Decimal("0.1")
    """Size of the position to hold, long or short, in base currency."""
    min_probability: float = 0.45
    """Least probability of BUY or SELL to act on, in (1/3, 1)."""
    cooldown_ns: int = 1_000_000_000
    """Least simulated time between two orders."""
    max_age_ns: int = 1_000_000_000
    """Predictions whose newest trade is older than this when they arrive are not traded on; counts from the
    venue's time, so the way from the venue is part of it."""
    fee_bps: float = 0.5
    """Fee on each fill, bps of its value: there and back is the 1 bps that labels assume by default."""
    starting_balance: int = 10_000
    """Account at the start, in quote currency."""
    in_sample: bool = False
    """Trade on data that the model's fit saw too: good for looking at mechanics, worthless as a result."""

    def __post_init__(self) -> None:
        expect(self.fee_bps >= 0, f"fee_bps of at least 0, was {self.fee_bps:g}")
        expect(self.starting_balance > 0, f"starting_balance above 0, was {self.starting_balance}")
        expect(
            self.latency_ns <= self.max_age_ns,
            f"latency_ns of at most max_age_ns = {self.max_age_ns} (older predictions are not traded on), "
            f"was {self.latency_ns}",
        )

    def actor(self, instrument_id: InstrumentId, window: int) -> InferenceActorConfig:
        """Config of the actor that asks the model."""
        return InferenceActorConfig(
            instrument_id=instrument_id,
            url=self.url,
            model=self.model,
            version=self.version,
            token_env=self.token_env,
            window=window,
            latency_ns=self.latency_ns,
            timeout_s=self.timeout_s,
            max_failures=self.max_failures,
        )

    def strategy(self, instrument: Instrument) -> TickStrategyConfig:
        """Config of the strategy that trades on the predictions."""
        step = instrument.size_increment.as_decimal()
        expect(self.trade_size % step == 0, f"trade_size in steps of {step}, was {self.trade_size}")
        return TickStrategyConfig(
            instrument_id=instrument.id,
            trade_size=self.trade_size,
            min_probability=self.min_probability,
            cooldown_ns=self.cooldown_ns,
            max_age_ns=self.max_age_ns,
        )


def importable_actor(config: InferenceActorConfig) -> ImportableActorConfig:
    """The actor in the form that a `BacktestEngineConfig` takes."""
    return ImportableActorConfig(
        actor_path="strategies.inference_actor:InferenceActor",
        config_path="strategies.inference_actor:InferenceActorConfig",
        config=config.json_primitives(),
    )


def importable_strategy(config: TickStrategyConfig) -> ImportableStrategyConfig:
    """The strategy in the form that a `BacktestEngineConfig` takes."""
    return ImportableStrategyConfig(
        strategy_path="strategies.tick_strategy:TickStrategy",
        config_path="strategies.tick_strategy:TickStrategyConfig",
        config=config.json_primitives(),
    )


def run_config(
    instrument: Instrument, actor: InferenceActorConfig, strategy: TickStrategyConfig, catalog: Path, balance: int
) -> BacktestRunConfig:
    """A run over an instrument's trades in a catalog, as `BacktestNode` takes it.

    Parameters
    ----------
    catalog : Path
        A `ParquetDataCatalog` that holds the instrument, its trades and its quotes.
    balance : int
        Account at the start, in quote currency.
    """
    return BacktestRunConfig(
        engine=BacktestEngineConfig(
            actors=[importable_actor(actor)],
            strategies=[importable_strategy(strategy)],
            logging=LoggingConfig(log_level="ERROR"),  # to stderr; anything below goes to stdout
            risk_engine=RiskEngineConfig(max_order_submit_rate="1000000/00:00:01"),
        ),
        venues=[_venue(instrument, balance)],
        data=[
            BacktestDataConfig(catalog_path=str(catalog), data_cls=data_cls, instrument_id=instrument.id)
            for data_cls in (TradeTick, QuoteTick)  # in this order at one time: a trade, too, sets the book
        ],
        raise_exception=True,
        dispose_on_completion=False,
    )


def _venue(instrument: Instrument, balance: int) -> BacktestVenueConfig:
    """Market orders fill at once at the other side's quote and one step worse, what exceeds its size two steps.

    A trade sets bid and ask to its price even with ``trade_execution=False``; the quote that follows it at
    the same time sets them right, before any prediction on that trade can arrive.

    There is no latency model: the actor's latency delays the prediction, and so the order.
    """
    return BacktestVenueConfig(
        name=instrument.id.venue.value,
        oms_type="NETTING",
        account_type="MARGIN",
        base_currency=None,
        starting_balances=[f"{balance} {instrument.quote_currency.code}"],
        book_type="L1_MBP",
        trade_execution=False,
        bar_execution=False,
        fill_model=ImportableFillModelConfig(
            fill_model_path="nautilus_trader.backtest.models:FillModel",
            config_path="nautilus_trader.backtest.config:FillModelConfig",
            config={"prob_slippage": 1.0, "random_seed": 1},
        ),
        latency_model=None,
    )
