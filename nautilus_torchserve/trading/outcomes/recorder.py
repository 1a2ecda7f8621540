"""Records outcomes of predictions and the trades made on them, for comparisons of versions."""

from collections import deque
from decimal import Decimal
from typing import NamedTuple

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import Bar, BarType, TradeTick
from nautilus_trader.model.events import PositionClosed, PositionEvent
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import FIXED_PRECISION

from nautilus_torchserve.backlog import Writer
from nautilus_torchserve.trading.checks import expect
from nautilus_torchserve.trading.prediction import Prediction, Status, prediction_topic
from nautilus_torchserve.traffic.records import ClosedTrade, ScoredPrediction
from nautilus_torchserve.traffic.store import StoreFailed, TrafficStore

MOST_EVENTS = 100_000
"""Largest number of events kept for the predictions on them."""
DIRECTIONS = {"BUY": 1, "UP": 1, "SELL": -1, "DOWN": -1, "HOLD": 0}
"""Predicted class -> sign of the price's move."""


class Outcome(NamedTuple):
    """A prediction, and the simple return over its horizon."""

    prediction: Prediction
    return_bps: float
    """From the price of the newest event that the model saw, bps."""


class _Event(NamedTuple):
    number: int
    stretch: int
    """Number of the stretch without a break that it is in."""
    ts_event: int
    price: int


class _Open(NamedTuple):
    prediction: Prediction
    begin: _Event


class Outcomes:
    """One instrument's predictions and their outcomes.

    Horizons do not overlap: after a prediction that is scored, the next one is the first about an event at its
    horizon's end or later. Outcomes of overlapping horizons share most of their price moves, so that a hundred of
    them say little more than one, and no test that takes them for independent holds its error rate.

    Parameters
    ----------
    horizon : int
        Events to look ahead: trades, or bars.
    max_gap_ns : int, optional
        Longest gap without a break (nanoseconds): nothing is scored over a longer one. None: all gaps are ignored.
    """

    def __init__(self, horizon: int, max_gap_ns: int | None = None) -> None:
        self._horizon = horizon
        self._max_gap_ns = max_gap_ns
        self._newest = _Event(-1, 0, 0, 0)
        self._waiting: deque[_Event] = deque(maxlen=MOST_EVENTS)
        self._open: _Open | None = None
        self._free_from = 0

    def event(self, ts_event: int, price: int) -> Outcome | None:
        """Add an event; return the outcome whose horizon it ends.

        Parameters
        ----------
        price : int
            In the instrument's smallest steps.
        """
        last = self._newest
        broken = self._max_gap_ns is not None and last.number >= 0 and ts_event - last.ts_event > self._max_gap_ns
        self._newest = _Event(last.number + 1, last.stretch + broken, ts_event, price)
        self._waiting.append(self._newest)
        return self._end(self._newest)

    def prediction(self, prediction: Prediction) -> Outcome | None:
        """Add a prediction that has taken effect; return its outcome, where that is known already.

        One that is not to be traded on (`Status`) is not scored either.
        """
        begin = self._event_of(prediction)
        if begin is None or prediction.status != Status.OK or self._open or begin.number < self._free_from:
            return None
        self._open = _Open(prediction, begin)
        self._free_from = begin.number + self._horizon
        for event in self._waiting:
            if event.number == self._free_from:
                return self._end(event)
        return None

    def _event_of(self, prediction: Prediction) -> _Event | None:
        """Return the event that a prediction is about: the first of its time that has no prediction yet.

        Predictions come in the order of their events. Where several events share one time and requests about some
        of them failed, it may be a neighbour of that time.
        """
        while self._waiting and self._waiting[0].ts_event < prediction.feature_ts:
            self._waiting.popleft()
        if self._waiting and self._waiting[0].ts_event == prediction.feature_ts:
            return self._waiting.popleft()
        return None

    def _end(self, event: _Event) -> Outcome | None:
        if self._open is None:
            return None
        prediction, begin = self._open
        if event.stretch != begin.stretch:
            self._open, self._free_from = None, event.number
            return None
        if event.number < self._free_from:
            return None
        self._open = None
        return Outcome(prediction, 1e4 * (event.price - begin.price) / begin.price)


def scored(outcome: Outcome, cost_bps: float) -> ScoredPrediction | None:
    """Return the record of an outcome; None where it has no class: a bar's return of zero is neither up nor down.

    Parameters
    ----------
    cost_bps : float
        Of tick models: moves of no more than this are HOLD, as in `market.trades.labels`.
    """
    prediction, return_bps = outcome
    if "buy" in prediction.outputs:
        predicted = max(prediction.outputs, key=prediction.outputs.__getitem__).upper()
        actual = "BUY" if return_bps > cost_bps else "SELL" if return_bps < -cost_bps else "HOLD"
    elif return_bps:
        predicted = "UP" if prediction.outputs["return_bps"] > 0 else "DOWN"
        actual = "UP" if return_bps > 0 else "DOWN"
    else:
        return None
    direction = DIRECTIONS[predicted]
    return ScoredPrediction(
        split=prediction.split,
        model=prediction.model,
        version=prediction.version,
        instrument_id=prediction.instrument_id.value,
        ts_ns=prediction.feature_ts,
        predicted=predicted,
        actual=actual,
        markout_bps=direction * return_bps if direction else None,
    )


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
    """Scores predictions by `trading.outcomes.recorder.Outcomes`, and records trades from flat to flat.

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
        self._writer: Writer[ScoredPrediction | ClosedTrade] | None = None

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
        self._writer = Writer(self._store.keep, f"outcomes of {config.model}", config.flush_s)
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
            self._writer.add(record)

    def _on_position(self, event: PositionEvent) -> None:
        if not isinstance(event, PositionClosed) or event.instrument_id not in self._outcomes:
            return
        order = self.cache.order(event.opening_order_id)
        tags = dict(tag.split("=", 1) for tag in (order and order.tags) or () if "=" in tag)
        if tags.get("model") == self.config.model and self._writer is not None:
            self._writer.add(closed_trade(event, tags, self.cache.instrument(event.instrument_id)))

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
