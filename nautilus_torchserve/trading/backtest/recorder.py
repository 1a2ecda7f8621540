"""Records predictions, fills and refused orders of a run as they pass over the message bus."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import numpy as np
import pandas as pd
from nautilus_trader.common.component import MessageBus
from nautilus_trader.model.events import OrderDenied, OrderEvent, OrderFilled, OrderRejected
from nautilus_trader.model.identifiers import InstrumentId, Venue
from nautilus_trader.model.instruments import Instrument
from numpy.typing import NDArray

from nautilus_torchserve.trading.backtest.ledger import Ledger
from nautilus_torchserve.trading.backtest.ruin import Ruin, RuinGuard
from nautilus_torchserve.trading.prediction import Prediction, prediction_topic

_FIRST = 10
"""Priority of the handler that books fills, above the strategies' own."""
_WHOLE = ("ts_event", "ts_init", "latency_ns", "number")


class PredictionLog:
    """Predictions about one instrument in order of arrival, as columns: some 50 bytes each, as a long run has millions.

    Parameters
    ----------
    outputs : sequence of str
        Which outputs to keep.
    """

    def __init__(self, outputs: Sequence[str]) -> None:
        self._names = tuple(outputs)
        self._whole = array("q")
        self._outputs = array("f")

    def add(self, prediction: Prediction) -> None:
        """Append a prediction."""
        self._whole.extend((prediction.ts_event, prediction.ts_init, prediction.latency_ns, prediction.number))
        self._outputs.extend(map(prediction.outputs.__getitem__, self._names))

    def numbers(self) -> NDArray[np.int64]:
        """Return `Prediction.number` of each."""
        return self._columns()[:, 3].copy()

    def table(self) -> pd.DataFrame:
        """Return ``ts_event``, ``ts_init``, ``latency_ns`` and a float32 column for each output."""
        whole = self._columns()
        columns: dict[str, NDArray] = {name: whole[:, at].copy() for at, name in enumerate(_WHOLE[:3])}
        outputs = np.frombuffer(self._outputs, dtype=np.float32).reshape(-1, len(self._names))
        columns.update({name: outputs[:, at].copy() for at, name in enumerate(self._names)})
        return pd.DataFrame(columns)

    def _columns(self) -> NDArray[np.int64]:
        return np.frombuffer(self._whole, dtype=np.int64).reshape(-1, len(_WHOLE))


class Recorder:
    """Records messages that the engine does not keep.

    Parameters
    ----------
    bus : MessageBus
    instruments : iterable of Instrument
        Instruments traded.
    outputs : sequence of str
        Names of the predictions' outputs.
    balance : Decimal
        Each venue's account before the run.
    """

    def __init__(
        self, bus: MessageBus, instruments: Iterable[Instrument], outputs: Sequence[str], balance: Decimal
    ) -> None:
        self.instruments = {instrument.id: instrument for instrument in instruments}
        """By their identifiers, in the order given."""
        self.balance = balance
        self.ruins: Mapping[Venue, Ruin] = {}
        """Ruined accounts, and when."""
        self.predictions: dict[InstrumentId, PredictionLog] = {}
        """Instrument -> predictions about it, with these outputs."""
        self.ledgers: dict[InstrumentId, Ledger] = {}
        """Instrument -> its fills and closed positions."""
        self.refusals: list[OrderDenied | OrderRejected] = []
        """Denied and rejected orders of all instruments, in order."""
        for instrument in self.instruments.values():
            log = self.predictions[instrument.id] = PredictionLog(outputs)
            self.ledgers[instrument.id] = Ledger(instrument)
            bus.subscribe(topic=prediction_topic(instrument.id), handler=log.add)
        bus.subscribe(topic="events.order.*", handler=self._on_order, priority=_FIRST)

    def _on_order(self, event: OrderEvent) -> None:
        if isinstance(event, OrderFilled):
            self.ledgers[event.instrument_id].add(event)
        elif isinstance(event, OrderDenied | OrderRejected):
            self.refusals.append(event)

    def guard(self, topics: Mapping[str, InstrumentId]) -> RuinGuard:
        """Return the actor that ends the trading of ruined accounts; to be added to the engine.

        Parameters
        ----------
        topics : mapping
            Message bus topic of each instrument's trades or bars -> the instrument.
        """
        guard = RuinGuard(self.ledgers, self.balance, topics)
        self.ruins = guard.ruins
        return guard

    def refusals_of(self, instrument_id: InstrumentId) -> list[str]:
        """Return why orders of one instrument were refused, in order."""
        return [event.reason for event in self.refusals if event.instrument_id == instrument_id]
