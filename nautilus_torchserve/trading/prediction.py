"""Predictions about instruments, as data that strategies subscribe to and catalogs store."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import pyarrow as pa
from nautilus_trader.core.data import Data
from nautilus_trader.model.custom import customdataclass
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import InstrumentId

from nautilus_torchserve.serving.client.client import PredictionResponse
from nautilus_torchserve.trading.inference.messages import InferenceCall, PredictionRequest, RequestOutcome


class Status(StrEnum):
    """Whether a prediction may be traded on."""

    OK = "OK"
    """A response of the requested model, in time."""
    DEGRADED = "DEGRADED"
    """There was no response in time: outputs, version and ``feature_ts`` are those of the last good prediction."""
    SUPERSEDED = "SUPERSEDED"
    """A response of a version that its instrument has left since."""


@customdataclass
class Prediction(Data):
    """One prediction of a model about one instrument.

    ``ts_event`` is when the newest event that the model saw happened at the venue, ``ts_init`` when the prediction took
    effect here; both Unix nanoseconds.

    A `ParquetDataCatalog` writes and reads it like any custom data: ``catalog.write_data(predictions)``,
    ``catalog.query(Prediction)``.
    """

    instrument_id: InstrumentId
    """The instrument that it is about."""
    model: str
    """The model's name."""
    version: str
    """The version that responded."""
    archive_digest: str
    """Content digest of the archive that responded."""
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
    pending_version_change: bool = False
    """Whether the instrument is to change to another version: positions are to be closed on it, none to be opened. Its
    column in a catalog is named ``leaving``."""
    number: int = -1
    """Position of its newest event among all that the actor has received of the instrument, from 0; -1 where it is not
    known. Several events may share one time."""

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
        """Return plain types, as the schema wants them: a map is a list of pairs."""
        converted = {
            "instrument_id": self.instrument_id.value,
            "outputs": list(self.outputs.items()),
            "status": str(self.status),
            "leaving": self.pending_version_change,
            "type": "Prediction",
        }
        return {name: converted[name] if name in converted else getattr(self, name) for name in self._schema.names}

    def to_arrow(self) -> pa.RecordBatch:
        """Return a batch of one row; NautilusTrader 1.231 would make JSON of the map."""
        return pa.RecordBatch.from_pylist([self.to_dict()], schema=self._schema)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Prediction":
        """Return the inverse of :meth:`to_dict`; fields that did not exist when it was written have their defaults."""
        fields = {name: value for name, value in data.items() if name != "type" and value is not None}
        fields["pending_version_change"] = fields.pop("leaving", False)
        fields["instrument_id"] = InstrumentId.from_str(data["instrument_id"])
        fields["outputs"] = dict(data["outputs"])
        return cls(**fields)


def prediction_type(instrument_id: InstrumentId) -> DataType:
    """Return the data type of predictions about an instrument; the metadata must match on both sides."""
    return DataType(Prediction, metadata={"instrument_id": instrument_id.value})


def prediction_topic(instrument_id: InstrumentId) -> str:
    """Return the message bus's topic of `prediction_type`.

    Subscribing to it works the same in backtest and live; `Actor.subscribe_data` without a data
    client logs an error on newer versions of NautilusTrader.
    """
    return f"data.{prediction_type(instrument_id).topic}"


def build_prediction(
    answer: PredictionResponse | InferenceCall,
    row: int,
    request: PredictionRequest,
    ts_init: int,
    split: str,
    pending_version_change: bool,
) -> Prediction:
    """Return the prediction of one row of an answer.

    Parameters
    ----------
    request : PredictionRequest
        Of that row.
    ts_init : int
        When it takes effect, Unix ns.
    split : str
        Name of the traffic split that the request belongs to.
    """
    return Prediction(
        ts_event=request.ts_event,
        ts_init=ts_init,
        instrument_id=request.instrument_id,
        model=answer.model,
        version=answer.version,
        archive_digest=answer.digest,
        outputs={name: values.item(row) for name, values in answer.outputs.items()},
        feature_ts=request.ts_event,
        latency_ns=answer.latency_ns,
        split=split,
        pending_version_change=pending_version_change,
        number=request.number,
    )


class LivePredictions:
    """Builds the predictions of live calls, and repeats each instrument's last good one as DEGRADED."""

    def __init__(self) -> None:
        self._last_good: dict[InstrumentId, Prediction] = {}

    def of_call(
        self, call: InferenceCall, split: str, now_ns: int, pending_version_change: Callable[[InstrumentId, int], bool]
    ) -> Iterator[Prediction]:
        """Yield one for each answered request, in the order of the call, and a DEGRADED one for each other instrument.

        Parameters
        ----------
        split : str
            Name of the traffic split that the call belongs to.
        now_ns : int
            When they take effect, Unix ns.
        pending_version_change : callable
            Given an instrument and a ``ts_event``, returns whether it is to change to another version.
        """
        rows = list(enumerate(zip(call.requests, call.outcomes, strict=True)))
        answered = {request.instrument_id for _, (request, outcome) in rows if outcome is RequestOutcome.ANSWERED}
        unanswered: dict[InstrumentId, PredictionRequest] = {}
        for row, (request, outcome) in rows:
            instrument_id = request.instrument_id
            if outcome is RequestOutcome.ANSWERED:
                changes = pending_version_change(instrument_id, request.ts_event)
                prediction = build_prediction(call, row, request, now_ns, split, changes)
                good = self._last_good.get(instrument_id)
                if good is None or prediction.feature_ts >= good.feature_ts:
                    self._last_good[instrument_id] = prediction
                yield prediction
            elif instrument_id not in answered:
                unanswered.setdefault(instrument_id, request)  # newest first
        for request in unanswered.values():
            yield self._degraded(call.model, request, now_ns)

    def _degraded(self, model: str, request: PredictionRequest, now_ns: int) -> Prediction:
        good = self._last_good.get(request.instrument_id)
        return Prediction(
            ts_event=request.ts_event,
            ts_init=now_ns,
            instrument_id=request.instrument_id,
            model=model,
            version="" if good is None else good.version,
            archive_digest="" if good is None else good.archive_digest,
            outputs={} if good is None else dict(good.outputs),
            feature_ts=0 if good is None else good.feature_ts,
            latency_ns=0,
            status=Status.DEGRADED,
            split="" if good is None else good.split,
            pending_version_change=False if good is None else good.pending_version_change,
            number=-1 if good is None else good.number,
        )
