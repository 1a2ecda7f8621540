"""Records outcomes of predictions and the trades made on them, for comparisons of versions."""

from decimal import Decimal

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import Bar, BarType, TradeTick
from nautilus_trader.model.events import PositionClosed, PositionEvent
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import FIXED_PRECISION

from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.outcomes.outcomes import Outcome, Outcomes, scored
from nautilus_torchserve.trading.prediction import Prediction, prediction_topic
from nautilus_torchserve.traffic.backlog import Writer
from nautilus_torchserve.traffic.records import ClosedTrade
from nautilus_torchserve.traffic.store import StoreFailed, TrafficStore

POSITIONS = "events.position.*"


class OutcomeRecorderConfig(ActorConfig, kw_only=True, frozen=True):
    """Configuration of an `OutcomeRecorder`.

    Parameters
    ----------
    traffic : str
        SQLAlchemy URL of the store.
    model : str
        The model whose predictions and trades to record.
    instrument_ids : list of InstrumentId
        The instruments that they are about.
    horizon : int
        Trades, or bars, over which a prediction is scored. The same for all versions, or they cannot be compared.
    cost_bps : float
        Of tick models: moves of no more than this are HOLD (bps).
    bar_types : tuple of BarType
        Of price models: the bars that predictions are about, one type for each instrument; none: trades.
    max_gap_ns : int, optional
        Bars further apart have a break between them, over which nothing is scored (nanoseconds).
    flush_s : float
        Between two writings to the store (seconds of wall time).
    """

    traffic: str
    model: str
    instrument_ids: list[InstrumentId]
    horizon: int
    cost_bps: float = 0.0
    bar_types: tuple[BarType, ...] = ()
    max_gap_ns: int | None = None
    flush_s: float = 1.0

    def __post_init__(self) -> None:
        expect(bool(self.instrument_ids), "instrument_ids of at least 1 instrument, got none")
        expect(self.horizon >= 1, f"horizon of at least 1 event, got {self.horizon}")
        expect(self.cost_bps >= 0, f"cost_bps of at least 0, got {self.cost_bps:g}")
        expect(self.flush_s > 0, f"flush_s above 0, got {self.flush_s:g}")
        of_bars = {bar_type.instrument_id for bar_type in self.bar_types}
        expect(
            of_bars in (set(), set(self.instrument_ids)),
            f"bar_types of all instruments or of none, got {len(of_bars)} of {len(self.instrument_ids)}",
        )


class OutcomeRecorder(Actor):
    """Scores predictions by `trading.outcomes.outcomes.Outcomes`, and records trades from flat to flat.

    A trade is its opening order's: the version, the archive and the split are those of the order's tags. Records are
    written by a thread of their own; trading never waits for the database, and an outage costs no records until
    they fill the memory set aside for them.

    Predictions whose horizon has not passed and positions that are open at the end are not kept.

    Parameters
    ----------
    config : OutcomeRecorderConfig
    """

    def __init__(self, config: OutcomeRecorderConfig) -> None:
        super().__init__(config)
        self._outcomes = {
            instrument_id: Outcomes(config.horizon, config.max_gap_ns) for instrument_id in config.instrument_ids
        }
        self._steps: dict[InstrumentId, int] = {}
        self._store: TrafficStore | None = None
        self._writer: Writer | None = None

    def on_start(self) -> None:
        config = self.config
        for instrument_id in config.instrument_ids:
            instrument = self.cache.instrument(instrument_id)
            if instrument is None:
                raise self._refused(RuntimeError(f"expected {instrument_id} in the cache, got none"))
            self._steps[instrument_id] = 10 ** (FIXED_PRECISION - instrument.price_precision)
        try:
            self._store = TrafficStore(config.traffic)
        except StoreFailed as error:
            raise self._refused(error) from None
        self._writer = Writer(self._store, config.flush_s, f"outcomes of {config.model}")
        for bar_type in config.bar_types:
            self.subscribe_bars(bar_type)
        for instrument_id in config.instrument_ids:
            if not config.bar_types:
                self.subscribe_trade_ticks(instrument_id)
            self.msgbus.subscribe(topic=prediction_topic(instrument_id), handler=self._on_prediction)
        self.msgbus.subscribe(topic=POSITIONS, handler=self._on_position)

    def on_stop(self) -> None:
        """Flush; strategies are stopped after actors, and the positions that they close then are still recorded."""
        if self._writer is not None:
            self._writer.flush()

    def on_dispose(self) -> None:
        if self._writer is None or self._store is None:
            return
        self.msgbus.unsubscribe(topic=POSITIONS, handler=self._on_position)
        for instrument_id in self.config.instrument_ids:
            self.msgbus.unsubscribe(topic=prediction_topic(instrument_id), handler=self._on_prediction)
        self._writer.close()
        self._store.close()
        self._writer = self._store = None

    def on_trade_tick(self, tick: TradeTick) -> None:
        price = tick.price.raw // self._steps[tick.instrument_id]
        self._keep_outcome(self._outcomes[tick.instrument_id].event(tick.ts_event, price))

    def on_bar(self, bar: Bar) -> None:
        instrument_id = bar.bar_type.instrument_id
        price = bar.close.raw // self._steps[instrument_id]
        self._keep_outcome(self._outcomes[instrument_id].event(bar.ts_event, price))

    def _on_prediction(self, prediction: Prediction) -> None:
        if prediction.model == self.config.model:
            self._keep_outcome(self._outcomes[prediction.instrument_id].prediction(prediction))

    def _keep_outcome(self, outcome: Outcome | None) -> None:
        record = None if outcome is None else scored(outcome, self.config.cost_bps)
        if record is not None and self._writer is not None:
            self._writer.add([record])

    def _on_position(self, event: PositionEvent) -> None:
        if not isinstance(event, PositionClosed) or event.instrument_id not in self._outcomes:
            return
        order = self.cache.order(event.opening_order_id)
        tags = dict(tag.split("=", 1) for tag in (order and order.tags) or () if "=" in tag)
        if tags.get("model") == self.config.model and self._writer is not None:
            self._writer.add([closed_trade(event, tags, self.cache.instrument(event.instrument_id))])

    def _refused(self, error: Exception) -> Exception:
        self.log.error(f"Cannot record outcomes of {self.config.model}: {error}")
        return error


def closed_trade(event: PositionClosed, tags: dict[str, str], instrument: Instrument) -> ClosedTrade:
    """Return the record of a position.

    Parameters
    ----------
    tags : dict of str
        Of the order that opened it, see `trading.prediction_strategy.PredictionStrategy.order`.
    """
    price = Decimal(str(event.avg_px_open))
    value = event.peak_qty.as_decimal() * instrument.multiplier.as_decimal()  # in the currency that it is settled in
    value = value / price if instrument.is_inverse else value * price
    pnl = event.realized_pnl.as_decimal()
    return ClosedTrade(
        split=tags.get("split", ""),
        model=tags["model"],
        version=tags["version"],
        instrument_id=event.instrument_id.value,
        opened_ns=event.ts_opened,
        closed_ns=event.ts_closed,
        pnl=float(pnl),
        return_bps=float(10_000 * pnl / value),
    )
