"""What a model said about an instrument, as data that strategies subscribe to and catalogs store."""

from enum import StrEnum
from typing import Any

import pyarrow as pa
from nautilus_trader.core.data import Data
from nautilus_trader.model.custom import customdataclass
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import InstrumentId


class Status(StrEnum):
    """Whether a prediction is fit to trade on."""

    OK = "OK"
    """Answered by the model asked for, in time."""
    LATE = "LATE"
    """Answered, but after its deadline."""
    DEGRADED = "DEGRADED"
    """There was no answer in time: outputs, version and ``feature_ts`` are those of the last one that was good."""
    LEFT = "LEFT"
    """Answered by a version that its instrument has left since."""


@customdataclass
class Prediction(Data):
    """One answer of a model about one instrument.

    ``ts_event`` is when the newest event that the model saw happened at the venue, ``ts_init`` when
    the answer took effect here; both Unix nanoseconds.

    A `ParquetDataCatalog` writes and reads it like any custom data: ``catalog.write_data(predictions)``,
    ``catalog.query(Prediction)``.
    """

    instrument_id: InstrumentId
    """What it is about."""
    model: str
    """The model's name."""
    version: str
    """The version that answered."""
    archive_digest: str
    """Content digest of the archive that answered."""
    outputs: dict[str, float]
    """Name -> value; ``buy``, ``sell`` and ``hold`` are probabilities. Values are exact float32. Empty where a model
    has never answered (`Status.DEGRADED`)."""
    feature_ts: int
    """When the newest event among the features happened, Unix ns: a prediction's age counts from here."""
    latency_ns: int
    """Measured wall time of the call; in a backtest not what delays the prediction."""
    status: str = Status.OK
    """One of `Status`."""
    split: str = ""
    """Name of the traffic split that the request was a part of; empty without one."""
    leaving: bool = False
    """Whether the instrument is to change to another version: positions are to be closed on it, none to be opened."""
    number: int = -1
    """Position of its newest event among all that the actor has received of the instrument, from 0; -1 where nobody
    counted. Times do not tell: several events may share one."""

    _schema = pa.schema(
        {
            "instrument_id": pa.string(),
            "model": pa.string(),
            "version": pa.string(),
            "archive_digest": pa.string(),
            "outputs": pa.map_(pa.string(), pa.float64()),
            "feature_ts": pa.int64(),
            "latency_ns": pa.int64(),
            "status": pa.string(),
            "split": pa.string(),
            "leaving": pa.bool_(),
            "number": pa.int64(),
            "type": pa.string(),
            "ts_event": pa.int64(),
            "ts_init": pa.int64(),
        }
    )

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as the schema wants them: a map is a list of pairs."""
        return {
            "instrument_id": self.instrument_id.value,
            "model": self.model,
            "version": self.version,
            "archive_digest": self.archive_digest,
            "outputs": list(self.outputs.items()),
            "feature_ts": self.feature_ts,
            "latency_ns": self.latency_ns,
            "status": str(self.status),
            "split": self.split,
            "leaving": self.leaving,
            "number": self.number,
            "type": "Prediction",
            "ts_event": self.ts_event,
            "ts_init": self.ts_init,
        }

    def to_arrow(self) -> pa.RecordBatch:
        """Our own: NautilusTrader 1.231 would make JSON of the map."""
        return pa.RecordBatch.from_pylist([self.to_dict()], schema=self._schema)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Prediction":
        """Inverse of :meth:`to_dict`; fields that were not there when it was written are as they are by default."""
        fields = {name: value for name, value in data.items() if name != "type" and value is not None}
        fields["instrument_id"] = InstrumentId.from_str(data["instrument_id"])
        fields["outputs"] = dict(data["outputs"])
        return cls(**fields)


def prediction_type(instrument_id: InstrumentId) -> DataType:
    """What predictions about an instrument are published as; the metadata must match on both sides."""
    return DataType(Prediction, metadata={"instrument_id": instrument_id.value})


def prediction_topic(instrument_id: InstrumentId) -> str:
    """The message bus's topic of `prediction_type`.

    Subscribing to it works the same in backtest and live; `Actor.subscribe_data` without a data
    client logs an error on newer versions of NautilusTrader.
    """
    return f"data.{prediction_type(instrument_id).topic}"
