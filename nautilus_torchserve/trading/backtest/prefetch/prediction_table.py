"""Prefetched predictions: their table, and their conversion to engine data."""

import gc
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import repeat

import numpy as np
from nautilus_trader.common.component import MessageBus
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import CustomData, DataType
from nautilus_trader.model.identifiers import InstrumentId
from numpy.typing import NDArray

from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.prediction import Prediction, Status, prediction_topic, prediction_type


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """Predictions as columns, all of one version of one model."""

    subject: NDArray[np.int64]
    """Instrument of each [n], as a position among the run's."""
    number: NDArray[np.int64]
    """As `Prediction.number` [n]."""
    ts_event: NDArray[np.int64]
    """When the newest event that the model saw happened, Unix ns [n]."""
    arrived_ns: NDArray[np.int64]
    """When that event was received, Unix ns [n], never before the predecessor's."""
    due_ns: NDArray[np.int64]
    """When each takes effect, Unix ns [n]."""
    latency_ns: NDArray[np.int64]
    """Measured wall time of the request that it was a part of [n]."""
    outputs: NDArray[np.float32]
    """[n, outputs]."""

    def __len__(self) -> int:
        return len(self.due_ns)

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "PredictionTable":
        """Return some of the rows."""
        return PredictionTable(*(getattr(self, field.name)[which] for field in fields(self)))


def concat(parts: Sequence[PredictionTable]) -> PredictionTable:
    """Concatenate tables, of which there is at least one."""
    if len(parts) == 1:
        return parts[0]
    return PredictionTable(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(PredictionTable))
    )


class PredictionBatch(Data):
    """Predictions that take effect at one time, in order."""

    __slots__ = ("predictions", "ts_event", "ts_init")

    def __init__(self, predictions: Sequence[Prediction]) -> None:
        self.predictions = predictions
        self.ts_event = self.ts_init = predictions[0].ts_init


BATCH_TYPE = DataType(PredictionBatch)
"""Type of a `PredictionBatch` in the engine."""


class PredictionInjector:
    """Makes data of predictions, which the engine publishes when they are due, in place of an actor.

    Several that are due at one time are one datum, as they are one alert inline: with a datum each, an order on the
    first would be filled before a strategy sees the second.

    Parameters
    ----------
    bus : MessageBus
        The engine's message bus.
    instrument_ids : sequence of InstrumentId
        Instruments of the predictions.
    metadata : ModelMetadata
        Metadata of the version that responded.
    model : str
        The name under which predictions are published.
    """

    def __init__(
        self, bus: MessageBus, instrument_ids: Sequence[InstrumentId], metadata: ModelMetadata, model: str
    ) -> None:
        self._bus = bus
        self._instrument_ids = tuple(instrument_ids)
        self._data_types = [prediction_type(instrument_id) for instrument_id in instrument_ids]
        self._topics = {instrument_id: prediction_topic(instrument_id) for instrument_id in instrument_ids}
        self._names = tuple(metadata.outputs)
        self._model = model
        self._version: str = metadata.version
        self._digest: str = metadata.archive_digest
        self._last: deque[Prediction] = deque(maxlen=1)
        bus.subscribe(topic=f"data.{BATCH_TYPE.topic}", handler=self._publish)
        for topic in self._topics.values():
            bus.subscribe(topic=topic, handler=self._last.append, priority=1)  # before any strategy

    @property
    def published(self) -> Prediction | None:
        """The last prediction that took effect."""
        return self._last[0] if self._last else None

    def data(self, predictions: PredictionTable) -> tuple[list[CustomData], NDArray[np.int64]]:
        """Convert predictions, at least one, sorted by when they are due, to data.

        Returns
        -------
        list of CustomData
            One for each time at which some of them are due, to be handled after all other data of that time.
        int64 [n]
            Those times, Unix ns.
        """
        begins = np.flatnonzero(np.diff(predictions.due_ns, prepend=predictions.due_ns[0] - 1))
        with paused_collector():
            made = self._made(predictions)
            types = [self._data_types[subject] for subject in predictions.subject.tolist()]
            if len(begins) == len(made):
                return list(map(CustomData, types, made)), predictions.due_ns
            ends = [*begins[1:].tolist(), len(made)]
            data = [
                CustomData(types[begin], made[begin])
                if end - begin == 1
                else CustomData(BATCH_TYPE, PredictionBatch(made[begin:end]))
                for begin, end in zip(begins.tolist(), ends, strict=True)
            ]
            return data, predictions.due_ns[begins]

    def _made(self, predictions: PredictionTable) -> list[Prediction]:
        """Construct the predictions as `Prediction.__init__` would, in a third of the time."""
        new, instrument_ids = Prediction.__new__, self._instrument_ids
        model, version, digest, status = self._model, self._version, self._digest, Status.OK
        columns = ("subject", "number", "ts_event", "due_ns", "latency_ns")
        outputs = map(dict, map(zip, repeat(self._names), predictions.outputs.tolist()))
        made = []
        for subject, number, ts_event, due_ns, latency_ns, values in zip(
            *(getattr(predictions, name).tolist() for name in columns), outputs, strict=True
        ):
            prediction = new(Prediction)
            prediction.instrument_id = instrument_ids[subject]
            prediction.model = model
            prediction.version = version
            prediction.archive_digest = digest
            prediction.outputs = values
            prediction.feature_ts = ts_event
            prediction.latency_ns = latency_ns
            prediction.status = status
            prediction.split = ""
            prediction.pending_version_change = False
            prediction.number = number
            prediction._ts_event = ts_event
            prediction._ts_init = due_ns
            made.append(prediction)
        return made

    def _publish(self, due: PredictionBatch) -> None:
        for prediction in due.predictions:
            self._bus.publish(topic=self._topics[prediction.instrument_id], msg=prediction)


@contextmanager
def paused_collector() -> Iterator[None]:
    """Pause the garbage collector while many long-lived objects are made, which it would traverse again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
