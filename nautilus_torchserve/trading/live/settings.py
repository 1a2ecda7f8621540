"""The settings of a live run: where data come from, where orders go, which model, which limits."""

import hashlib
from decimal import Decimal
from typing import Any

import msgspec
from nautilus_trader.model.objects import Money

from nautilus_torchserve.market.read_options import BadReadOption, ReadOptions
from nautilus_torchserve.models.spec import ModelSpec, Trading, load_object
from nautilus_torchserve.models.table import spec_of
from nautilus_torchserve.trading.checks import BadSetting, expect
from nautilus_torchserve.trading.features.subscription import source_kinds
from nautilus_torchserve.trading.instruments.options import InstrumentOptions


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; a field that it does not know is an error."""


class NodeSettings(_Section, frozen=True, kw_only=True):
    """``[node]``: the process."""

    trader_id: str = "LIVE-001"
    """A name and a number; client order ids carry the number."""
    log_level: str = "INFO"
    """Least level on stderr: DEBUG, INFO, WARNING, ERROR or OFF."""
    log_folder: str | None = None
    """Folder for log files; None: none are written."""
    catalog: str | None = None
    """A NautilusTrader catalog that requests for history are answered from, as far as it reaches; None: the venue
    answers all of them."""
    connect_within_s: float = 60.0
    """Longest wait for venue and account at the start (seconds)."""
    flatten_on_stop: bool = True
    """Close positions before a clean stop; False leaves them, and the orders, as they are."""
    flat_within_s: float = 10.0
    """Longest wait for positions and orders to be closed, at a stop and after a halt (seconds)."""
    summary_file: str | None = None
    """File to which the run's summary is written as JSON; None: none, ``--json`` prints it."""
    settle_s: float = 1.0
    """From the stop of strategies to the disconnection, for what the venue still has to send (seconds)."""

    def __post_init__(self) -> None:
        levels = ("DEBUG", "INFO", "WARNING", "ERROR", "OFF")
        expect(self.log_level in levels, f"log_level of {', '.join(levels)}, got {self.log_level}")
        expect("-" in self.trader_id.strip("-"), f"trader_id such as LIVE-001, got {self.trader_id!r}")
        for name in ("connect_within_s", "flat_within_s"):
            expect(getattr(self, name) > 0, f"{name} above 0, got {getattr(self, name):g}")
        expect(self.settle_s >= 0, f"settle_s of at least 0, got {self.settle_s:g}")


class ReplayMarket(_Section, InstrumentOptions, frozen=True, kw_only=True, tag="replay", tag_field="kind"):
    """``[market] kind = "replay"``: recorded data, as if they came in now; see `InstrumentOptions`, too."""

    trades: str | None = None
    """CSV file or NautilusTrader catalog of one instrument's trades."""
    quotes: str | None = None
    """CSV file or catalog of one instrument's quotes: played alone, or beside ``trades``, which imply the quotes that
    orders meet where there are none."""
    bars: list[str] = []
    """CSV files or catalogs of bars, one for each instrument."""
    instruments: list[str] = []
    """Instruments of these files, where a catalog holds several or a CSV does not name its own."""
    simulate: int = 0
    """Trades of the simulated market to play instead of recorded ones."""
    seed: int = 1
    """Seed of that simulation."""
    speed: float = 1.0
    """1 plays in real time. Above it data come faster and are stamped ahead of the clock, so that ages and
    deadlines have no meaning."""
    warm_up: int = 0
    """Events before the first one played, which answer requests for history."""
    fee_bps: float | None = None
    """Fee on each fill, bps of its value; None takes the value of the instrument's definition, else 0.5."""
    spread_bps: float = 1.0
    """Ask less bid around bars, which hold no quotes (bps of the price)."""
    bar: str | None = None
    """Length of the bars wanted, ``5-MINUTE``; None takes them as they are."""
    stamp: str = "open"
    """End of its bar that a CSV's stamp marks, ``open`` or ``close``."""
    timezone: str | None = None
    """IANA name of the zone of times without an offset from UTC; None takes them as UTC."""
    allow_jumps: bool = False
    """Whether prices that jump as at an unadjusted split are let through."""
    layout: str | None = None
    """Layout of the files, as docs/data-formats.md names it; None recognises it."""
    date_order: str | None = None
    """Order of dates that end with the year, ``day-first`` or ``month-first``; None derives it."""
    decimal: str | None = None
    """Decimal mark of numbers, ``point`` or ``comma``; None derives it."""
    price_type: str | None = None
    """Price type of a catalog's bars, ``BID``, ``ASK``, ``MID`` or ``LAST``; None takes the only ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sources = [name for name in ("trades", "quotes", "bars", "simulate") if getattr(self, name)]
        expect(
            len(sources) == 1 or sources == ["trades", "quotes"],
            f"one of trades, quotes, bars and simulate, or trades and quotes, got {' and '.join(sources) or 'none'}",
        )
        files = len(self.bars) or 1
        expect(len(self.instruments) in (0, files), f"instruments of {files} or none, got {len(self.instruments)}")
        expect(self.speed >= 1, f"speed of at least 1 (data would age while they wait), got {self.speed:g}")
        expect(self.warm_up >= 0, f"warm_up of at least 0, got {self.warm_up}")
        expect(self.fee_bps is None or self.fee_bps >= 0, f"fee_bps of at least 0, got {self.fee_bps}")
        _ = self.read

    @property
    def kinds(self) -> set[str]:
        """Kinds of data that features can be made of."""
        if self.bars:
            return {"bars"}
        has_trades = self.trades is not None or self.simulate
        return {*(["trades"] if has_trades else []), *(["quotes"] if self.quotes else [])}

    @property
    def read(self) -> ReadOptions:
        """Options for reading the data.

        Raises
        ------
        BadSetting
            An unknown stamp, timezone, order, mark or price type.
        """
        try:
            return ReadOptions(
                self.stamp,
                self.timezone,
                self.allow_jumps,
                self.layout,
                self.date_order,
                self.decimal,
                self.price_type,
            )
        except BadReadOption as error:
            raise BadSetting(str(error)) from None


class BinanceMarket(_Section, frozen=True, kw_only=True, tag="binance", tag_field="kind"):
    """``[market] kind = "binance"``: Binance's USDT futures.

    Even data want a key: NautilusTrader's adapter reads the account's fee tier with the instruments.
    """

    environment: str
    """``testnet`` or ``live``."""
    api_key_env: str = ""
    """Variable that holds the key; empty takes NautilusTrader's, ``BINANCE_FUTURES_TESTNET_API_KEY`` and
    ``BINANCE_API_KEY``."""
    api_secret_env: str = ""
    """Variable that holds its secret; empty as above."""
    http_url: str | None = None
    """Another address of the REST interface than Binance's own."""
    ws_url: str | None = None
    """Another address of the streams than Binance's own."""

    def __post_init__(self) -> None:
        names = ("testnet", "live")
        expect(self.environment in names, f"environment of {' or '.join(names)}, got {self.environment!r}")


class _Adapter(_Section, frozen=True, kw_only=True):
    """A client of NautilusTrader's, or one of your own."""

    name: str
    """The client's name, by NautilusTrader's custom the venue's."""
    factory: str
    """``module:Class`` of the client's factory."""
    config_path: str
    """``module:Class`` of its config."""
    config: dict[str, Any] = {}
    """Fields of the config."""
    config_env: dict[str, str] = {}
    """Fields whose values environment variables hold: field -> variable."""


class AdapterMarket(_Adapter, frozen=True, kw_only=True, tag="adapter", tag_field="kind"):
    """``[market] kind = "adapter"``: any data client."""


class SandboxExecution(_Section, frozen=True, kw_only=True, tag="sandbox", tag_field="kind"):
    """``[execution] kind = "sandbox"``: paper trading, orders meet the quotes here."""

    balance: str = "10000 USDT"
    """The account at the start."""
    leverage: Decimal = Decimal(1)
    """Leverage of the account."""

    def __post_init__(self) -> None:
        try:
            amount = Money.from_str(self.balance).as_decimal()
        except (ValueError, TypeError, OverflowError):
            amount = None
        expect(amount is not None and amount > 0, f"balance of an amount above 0 like 10000 USDT, got {self.balance!r}")
        expect(self.leverage > 0, f"leverage above 0, got {self.leverage}")


class BinanceExecution(_Section, frozen=True, kw_only=True, tag="binance", tag_field="kind"):
    """``[execution] kind = "binance"``: real orders, in the environment and with the key of ``[market]``."""

    countdown_s: float = 5.0
    """Between announcing what will be traded and the start (seconds)."""
    leverages: dict[str, int] = {}
    """Symbol -> leverage that is set at the start."""


class AdapterExecution(_Adapter, frozen=True, kw_only=True, tag="adapter", tag_field="kind"):
    """``[execution] kind = "adapter"``: real orders through any execution client."""

    countdown_s: float = 5.0
    """Between announcing what will be traded and the start (seconds)."""


class ModelSettings(_Section, frozen=True, kw_only=True):
    """``[model]``: the model, and the actor that uses it."""

    kind: str | None = None
    """Name of a built-in model that is traded live, ``tick`` or ``price``."""
    spec: str | None = None
    """Spec of a model of your own, in place of ``kind``: ``model_defs.my_model:SPEC`` or ``model_defs/my_model.py``."""
    strategy: str | None = None
    """The strategy, ``my_strategies:Momentum`` with ``MomentumConfig`` beside it; None takes the spec's."""
    actor: dict[str, Any]
    """Fields of the actor's config; those that follow from the model's metadata may be left out."""
    wait_for_model: bool = False
    """Start although the model cannot be reached yet: then window, gap and horizon have to be given."""

    def __post_init__(self) -> None:
        given = [name for name in ("kind", "spec") if getattr(self, name) is not None]
        expect(len(given) == 1, f"one of model.kind and model.spec, got {' and '.join(given) or 'none'}")
        trading = self.trading
        expect(
            trading.strategy_config is not None,
            f"model.strategy with {self.spec or self.kind} (my_strategies:Name), got none",
        )
        is_live = load_object(trading.actor).can_be_live
        expect(is_live, f"a model that is traded live, got {self.spec or self.kind!r}")

    @property
    def trading(self) -> Trading:
        """Actor and strategy of the model."""
        trading = self._spec.trading
        return trading if self.strategy is None else trading.with_strategy(self.strategy)

    @property
    def source_kinds(self) -> set[str]:
        """Kinds of data that its actor needs; none where that is one of yours."""
        features = self._spec.features
        if self.trading.actor == Trading().actor:
            return set(source_kinds(features))
        return set() if self.kind is None else set(features.data)

    @property
    def name(self) -> str:
        """The model's name at its servers."""
        return self.actor.get("model", self._spec.name)

    @property
    def _spec(self) -> ModelSpec:
        return spec_of(self.spec or self.kind or "")


class RiskSettings(_Section, frozen=True, kw_only=True):
    """``[risk]``: limits beyond the strategy's own ``max_position``."""

    max_order_submit_rate: str = "10/00:00:01"
    """Orders in a period; NautilusTrader's RiskEngine denies those above."""
    max_notional_per_order: dict[str, int] = {}
    """Instrument -> largest value of an order, in quote currency; what is above is denied, unless it only makes a
    position smaller."""
    max_daily_loss: Decimal | None = None
    """Loss since 0:00 UTC, realised and not, with fees, at which everything is closed and the run ends."""
    kill_file: str | None = None
    """A file whose appearance closes everything and ends the run, as does the signal SIGUSR1."""
    state_file: str | None = None
    """Keeps the day's P&L and whether trading was halted, for the next start."""
    check_every_ms: int = 200
    """Time between two checks of P&L and kill file (milliseconds)."""

    def __post_init__(self) -> None:
        loss = self.max_daily_loss
        expect(loss is None or loss > 0, f"max_daily_loss above 0, got {loss}")
        expect(10 <= self.check_every_ms <= 10_000, f"check_every_ms of 10 to 10000, got {self.check_every_ms}")
        for instrument_id, most in self.max_notional_per_order.items():
            expect(most > 0, f"max_notional_per_order of {instrument_id} above 0, got {most}")


class AuditSettings(_Section, frozen=True, kw_only=True):
    """``[audit]``: a log of every request and decision, see `trading.live.audit.actor`."""

    url: str
    """``parquet:FOLDER``, or SQLAlchemy's URL of a PostgreSQL; its password from ``PGPASSWORD`` or ``~/.pgpass``."""
    flush_s: float = 0.5
    """Between two writings, in (0, 1] (seconds): what a crash costs."""


class MetricsSettings(_Section, frozen=True, kw_only=True):
    """``[metrics]``: for Prometheus, see `trading.live.metrics.actor`."""

    port: int
    """Port to listen on; 0 takes any that is free, which is logged."""
    host: str = "127.0.0.1"
    """Address to listen on; ``0.0.0.0`` lets other machines connect."""


class ComponentSettings(_Section, frozen=True, kw_only=True):
    """``[[actors]]``: an actor of your own beside ours."""

    path: str
    """``module:Class``."""
    config_path: str
    """``module:Class`` of its config."""
    config: dict[str, Any] = {}
    """Fields of the config."""


class LiveSettings(_Section, frozen=True, kw_only=True):
    """A whole file."""

    market: ReplayMarket | BinanceMarket | AdapterMarket
    """Source of the data."""
    execution: SandboxExecution | BinanceExecution | AdapterExecution
    """Destination of the orders."""
    model: ModelSettings
    """The model."""
    strategy: dict[str, Any]
    """Fields of the strategy's config; the instrument is the actor's."""
    risk: RiskSettings
    """Limits."""
    node: NodeSettings = NodeSettings()
    """The process."""
    audit: AuditSettings | None = None
    """The audit log of the run; None: none."""
    metrics: MetricsSettings | None = None
    """The metrics that it exports; None: none."""
    actors: list[ComponentSettings] = []
    """Actors of your own."""

    def __post_init__(self) -> None:
        if isinstance(self.execution, BinanceExecution):
            expect(
                isinstance(self.market, BinanceMarket),
                f"market kind binance (execution binance takes its key), got {type(self.market).__name__}",
            )
        if isinstance(self.market, ReplayMarket):
            others = self.model.source_kinds - self.market.kinds
            played = ", ".join(sorted(self.market.kinds))
            model = self.model.spec or self.model.kind
            expect(not others, f"market of {', '.join(sorted(others))} for {model}, got a replay of {played}")
        if self.is_real:
            expect(not isinstance(self.market, ReplayMarket), "execution kind sandbox for a replay, got a real one")
            expect(self.risk.max_daily_loss is not None, "risk.max_daily_loss for real execution, got none")
            expect(bool(self.risk.max_notional_per_order), "risk.max_notional_per_order for real execution, got none")
            expect(self.risk.state_file is not None, "risk.state_file for real execution, got none")
            expect("max_position" in self.strategy, "strategy.max_position for real execution, got none")

    @property
    def is_real(self) -> bool:
        """Whether orders leave this process."""
        return not isinstance(self.execution, SandboxExecution)

    @property
    def sha256(self) -> str:
        """Hash of all settings; the same settings, the same hash, in whatever order the file has them."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()

    @property
    def countdown_s(self) -> float:
        """Wait between announcing what will be traded and the start (seconds)."""
        return 0.0 if isinstance(self.execution, SandboxExecution) else self.execution.countdown_s
