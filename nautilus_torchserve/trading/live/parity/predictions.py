"""A run's predictions compared, bit for bit, with those that the same data and models give now."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.audit.records import RequestRecord
from nautilus_torchserve.features.tick import tick_features, tick_schema
from nautilus_torchserve.market.trades.trades import Trades
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.trading.live.parity.recorded_run import NoParity
from nautilus_torchserve.wire.errors import SchemaMismatch, UnknownModel

ROWS = 8192
"""Rows of one request."""


@dataclass(frozen=True)
class PredictionDifference:
    """A request whose features or response differ now."""

    question: int
    ts_event: int
    """Unix ns, as recorded."""
    what: str
    """In words, with both values."""


@dataclass(frozen=True, eq=False)
class PredictionParity:
    """The comparison of all requests."""

    requests: int
    """Requests in the log."""
    features_equal: int
    """Requests whose features are those of the data, to the bit."""
    answered: int
    """Requests with a response in the log."""
    outputs_equal: int
    """Requests whose response is the model's for the features of the data, to the bit."""
    differences: tuple[PredictionDifference, ...]
    outputs: tuple[dict[str, float], ...]
    """The model's outputs now [requests]; empty where there was no response."""

    @property
    def equal(self) -> bool:
        """Whether all predictions are."""
        return not self.differences


def compare_predictions(
    requests: Sequence[RequestRecord],
    rows: NDArray[np.int64],
    trades: Trades,
    urls: Sequence[str],
    token: str | None = None,
) -> PredictionParity:
    """Compute all features anew from the data, and all predictions by the models.

    Parameters
    ----------
    rows : int64 [requests]
        Position of each request's event among the trades, -1 where they have none.
    urls : sequence of str
        Where the archives that answered are: servers, or ``mar:PATH``.
    token : str, optional
        TorchServe's inference token.

    Raises
    ------
    NoParity
        An archive that answered is at none of the URLs, or no request was answered.
    RequestError, UnreadableArchive
        A model cannot be reached.
    """
    with ExitStack() as stack:
        clients = {
            digest: stack.enter_context(_client(model, version, digest, urls, token))
            for model, version, digest in sorted(
                {(request.model, request.version, request.digest) for request in requests if request.digest}
            )
        }
        if not clients:
            raise NoParity("expected an answer in the log, got none")
        windows = {digest: _window(client) for digest, client in clients.items()}
        columns = (trades.price, trades.size, trades.side, trades.ts_event)
        of_window = {window: tick_features(*columns, window) for window in set(windows.values())}
        some = next(iter(of_window.values()))  # of requests without a response
        features = np.stack(
            [
                of_window[windows[request.digest]][row] if request.digest else some[row]
                for request, row in zip(requests, rows.tolist(), strict=True)
            ]
        )
        outputs: list[dict[str, float]] = [{} for _ in requests]
        for digest, client in clients.items():
            which = [place for place, request in enumerate(requests) if request.digest == digest and rows[place] >= 0]
            for place, values in zip(which, _answers(client, features[which]), strict=True):
                outputs[place] = values
    return _compare(requests, rows, features, outputs)


def _compare(
    requests: Sequence[RequestRecord],
    rows: NDArray[np.int64],
    features: NDArray[np.float32],
    outputs: Sequence[dict[str, float]],
) -> PredictionParity:
    differences, features_equal, outputs_equal = [], 0, 0
    for request, row, computed, values in zip(requests, rows.tolist(), features, outputs, strict=True):
        same_features = row >= 0 and request.features.tobytes() == computed.tobytes()
        same_outputs = not request.digest or (bool(values) and _bits(request.outputs) == _bits(values))
        features_equal += same_features
        outputs_equal += bool(request.digest) and same_outputs
        if row < 0:
            differences.append(
                PredictionDifference(request.question, request.ts_event, "its event is not among the data")
            )
            continue
        changes = []
        if not same_features:
            changes.append(f"features {request.features.tolist()} recorded, {computed.tolist()} from the data")
        if not same_outputs:
            changes.append(f"outputs {dict(request.outputs)} recorded, {values} now")
        if changes:
            differences.append(PredictionDifference(request.question, request.ts_event, "; ".join(changes)))
    answered = sum(bool(request.digest) for request in requests)
    return PredictionParity(len(requests), features_equal, answered, outputs_equal, tuple(differences), tuple(outputs))


def _bits(outputs: Mapping[str, float]) -> dict[str, bytes]:
    return {name: np.float32(value).tobytes() for name, value in outputs.items()}


def _client(model: str, version: str, digest: str, urls: Sequence[str], token: str | None) -> InferenceClient:
    """Return a client of this archive."""
    for url in urls:
        try:
            client = connect(url, model, version, token=token)
        except UnknownModel:
            continue
        if client.metadata.archive_digest == digest:
            return client
        client.close()
    raise NoParity(
        f"expected {model} {version} of archive {digest[:12]}, which answered, at {' or '.join(urls)}, got none"
    )


def _window(client: InferenceClient) -> int:
    trained_on = client.metadata.feature_schema
    computed = tick_schema(trained_on.window)
    if computed.sha256 != client.metadata.feature_schema_sha256:
        raise SchemaMismatch(f"expected a model trained on features {computed.name}, got {trained_on.name}")
    return computed.window


def _answers(client: InferenceClient, features: NDArray[np.float32]) -> Iterator[dict[str, float]]:
    for start in range(0, len(features), ROWS):
        part = features[start : start + ROWS]
        values = client.predict(part).outputs
        for row in range(len(part)):
            yield {name: values.item(row) for name, values in values.items()}
