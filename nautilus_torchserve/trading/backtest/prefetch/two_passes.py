"""Prefetch for any actor: one pass over the data records what it requests, the next runs on the stored responses.

The first pass has no strategies, and what it requests is sent in bulk after it. In the second one the same actor, with
its strategies, gets its responses from there: predictions and fills are those of a run with a request for each event.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.serving.client.client import InferenceClient, Inputs, PredictionResponse
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.trading.backtest.prefetch.requests import predict_rows
from nautilus_torchserve.trading.backtest.prefetch.stream import THREADS, map_ahead, threads_for
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.errors import RequestError
from nautilus_torchserve.wire.news_windows import NewsWindow

BYTES = 600_000
"""Size of a request's rows, about: a third of a second of a large model's time."""
MOST_ROWS = 8_192
"""Most rows of a request."""
WITH_TEXTS = 16
"""Inputs with texts of a request."""
Key = bytes | tuple[bytes, tuple[str, ...], tuple[float, ...]] | str


class InputsDependOnPredictions(UserError):
    """An actor requested in the second pass what it had not requested in the first, without predictions."""


class RecordedInputs(InferenceClient):
    """Records each input that is requested, once, and responds with zeros.

    Parameters
    ----------
    client : InferenceClient
        Of the model that will predict for them.
    model : str
        The name that it is requested by.
    """

    def __init__(self, client: InferenceClient, model: str) -> None:
        self.metadata = client.metadata
        self._model = model
        self._client = client
        self._inputs: dict[Key, Any] = {}

    def predict(self, inputs: Inputs, deadline_ns: int | None = None) -> PredictionResponse:
        self._inputs.update(zip(map(_key, inputs), inputs, strict=True))
        zeros = np.zeros((len(inputs), len(self.metadata.outputs)), dtype=np.float32)
        return _response(self.metadata, self._model, zeros, 0)

    def fetch(self, url: str) -> "StoredResponses":
        """Request the predictions of all recorded inputs, many in each request.

        Parameters
        ----------
        url : str
            The model's; requests to a server are sent several at a time.

        Raises
        ------
        RequestError
            There is no response, for another reason than one of the inputs.
        """
        inputs = list(self._inputs.values())
        starts = range(0, len(inputs), self.metadata.max_rows or (_rows(inputs[0]) if inputs else 1))
        batches = (_batch(inputs[start : start + starts.step]) for start in starts)
        outputs: dict[Key, NDArray[np.float32] | RequestError] = {}
        latency_ns: dict[Key, int] = {}
        keys = iter(self._inputs)
        for response in map_ahead(lambda batch: predict_rows(self._client, batch), batches, threads_for(url), THREADS):
            for row in range(len(response)):
                key = next(keys)
                outputs[key] = response.errors.get(row, response.outputs[row])
                latency_ns[key] = int(response.latency_ns[row])
        return StoredResponses(self.metadata, self._model, outputs, latency_ns)

    def explain(self, inputs: Inputs, output: str | None = None) -> NoReturn:
        raise NotImplementedError("actors request predictions")

    def close(self) -> None:
        """Do nothing: the client belongs to the run."""


class StoredResponses(InferenceClient):
    """Responds with predictions that were made before.

    Parameters
    ----------
    metadata : ModelMetadata
        Of the model that made them.
    model : str
        The name that it is requested by.
    outputs : mapping
        Input's key -> float32 [outputs], or the error of a request for it alone.
    latency_ns : mapping
        Input's key -> measured wall time of the request that it was a part of.
    """

    def __init__(
        self,
        metadata: ModelMetadata,
        model: str,
        outputs: Mapping[Key, NDArray[np.float32] | RequestError],
        latency_ns: Mapping[Key, int],
    ) -> None:
        self.metadata = metadata
        self._model = model
        self._outputs = outputs
        self._latency_ns = latency_ns

    def predict(self, inputs: Inputs, deadline_ns: int | None = None) -> PredictionResponse:
        keys = [_key(value) for value in inputs]
        try:
            stored = [self._outputs[key] for key in keys]
        except KeyError:
            raise InputsDependOnPredictions(
                f"{self._model}: expected inputs that do not depend on the model's responses, got one that is requested"
                " only after them, be it a prediction, a refusal, an order or a fill: --mode inline runs such a model"
            ) from None
        for outputs in stored:
            if isinstance(outputs, RequestError):
                raise outputs
        latency_ns = max(self._latency_ns[key] for key in keys)
        return _response(self.metadata, self._model, np.array(stored, dtype=np.float32), latency_ns)

    def explain(self, inputs: Inputs, output: str | None = None) -> NoReturn:
        raise NotImplementedError("actors request predictions")

    def close(self) -> None:
        """Do nothing: the client belongs to the run."""


def _response(metadata: ModelMetadata, model: str, outputs: NDArray[np.float32], latency_ns: int) -> PredictionResponse:
    columns = {name: outputs[:, column] for column, name in enumerate(metadata.outputs)}
    return PredictionResponse(columns, model, metadata.version, metadata.archive_digest, latency_ns)


def _rows(value: Any) -> int:
    """Return how many inputs like this one make a request of some `BYTES`; of those with texts `WITH_TEXTS`."""
    return max(1, min(MOST_ROWS, BYTES // value.nbytes)) if isinstance(value, np.ndarray) else WITH_TEXTS


def _batch(inputs: list[Any]) -> Any:
    return np.stack(inputs) if isinstance(inputs[0], np.ndarray) else inputs


def _key(value: NDArray[np.float32] | NewsWindow | str) -> Key:
    """Return what identifies an input: equal inputs have equal keys."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, NewsWindow):
        return value.window.tobytes(), tuple(value.texts), tuple(value.ages_s)
    return value
