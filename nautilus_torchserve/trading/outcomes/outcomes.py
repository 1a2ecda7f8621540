"""Outcomes of predictions: each is scored by the price's move over the horizon after it."""

from collections import deque
from typing import NamedTuple

from nautilus_torchserve.trading.prediction import Prediction, Status
from nautilus_torchserve.traffic.records import ScoredPrediction

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
