"""A run's predictions compared, bit for bit, with what data and models say when asked again."""

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
"""Of one request."""


@dataclass(frozen=True)
class PredictionDifference:
    """A question whose features or answer are other ones now."""

    question: int
    ts_event: int
    """Unix ns, as recorded."""
    what: str
    """In words, with both values."""


@dataclass(frozen=True, eq=False)
class PredictionParity:
    """What became of comparing all questions."""

    requests: int
    """Questions in the log."""
    features_equal: int
    """Whose features are those of the data, to the bit."""
    answered: int
    """Questions with an answer in the log."""
    outputs_equal: int
    """Whose answer is what the model says to the features of the data, to the bit."""
    differences: tuple[PredictionDifference, ...]
    outputs: tuple[dict[str, float], ...]
    """What the model says now [asked]; empty where there was no answer."""

    @property
    def equal(self) -> bool:
        """Whether all are."""
        return not self.differences


def compare_predictions(
    requests: Sequence[RequestRecord],
    rows: NDArray[np.int64],
    trades: Trades,
    urls: Sequence[str],
    token: str | None = None,
) -> PredictionParity:
    """Compute all features anew from the data and ask the models again.

    Parameters
    ----------
    rows : int64 [asked]
        Position of each question's event among the trades, -1 where they have none.
    urls : sequence of str
        Where the archives that answered can be asked: servers, or ``mar:PATH``.
    token : str, optional
        TorchServe's inference token.

    Raises
    ------
    NoParity
        An archive that answered is at none of the URLs, or nobody ever answered.
    RequestError, UnreadableArchive
        A model cannot be reached.
    """
    with ExitStack() as stack:
        clients = {
            digest: stack.enter_context(_client(model, version, digest, urls, token))
            for model, version, digest in sorted({(e.model, e.version, e.digest) for e in requests if e.digest})
        }
        if not clients:
            raise NoParity("expected an answer in the log, got none")
        windows = {digest: _window(client) for digest, client in clients.items()}
        columns = (trades.price, trades.size, trades.side, trades.ts_event)
        of_window = {window: tick_features(*columns, window) for window in set(windows.values())}
        some = next(iter(of_window.values()))  # of questions that nobody answered
        features = np.stack(
            [
                of_window[windows[each.digest]][row] if each.digest else some[row]
                for each, row in zip(requests, rows.tolist(), strict=True)
            ]
        )
        outputs: list[dict[str, float]] = [{} for _ in requests]
        for digest, client in clients.items():
            which = [place for place, each in enumerate(requests) if each.digest == digest and rows[place] >= 0]
            for place, values in zip(which, _answers(client, features[which]), strict=True):
                outputs[place] = values
    return _compared(requests, rows, features, outputs)


def _compared(
    requests: Sequence[RequestRecord],
    rows: NDArray[np.int64],
    features: NDArray[np.float32],
    outputs: Sequence[dict[str, float]],
) -> PredictionParity:
    differences, features_equal, outputs_equal = [], 0, 0
    for each, row, computed, values in zip(requests, rows.tolist(), features, outputs, strict=True):
        same_features = row >= 0 and each.features.tobytes() == computed.tobytes()
        same_outputs = not each.digest or (bool(values) and _bits(each.outputs) == _bits(values))
        features_equal += same_features
        outputs_equal += bool(each.digest) and same_outputs
        if row < 0:
            differences.append(PredictionDifference(each.question, each.ts_event, "its event is not among the data"))
            continue
        words = []
        if not same_features:
            words.append(f"features {each.features.tolist()} recorded, {computed.tolist()} from the data")
        if not same_outputs:
            words.append(f"outputs {dict(each.outputs)} recorded, {values} now")
        if words:
            differences.append(PredictionDifference(each.question, each.ts_event, "; ".join(words)))
    answered = sum(bool(each.digest) for each in requests)
    return PredictionParity(len(requests), features_equal, answered, outputs_equal, tuple(differences), tuple(outputs))


def _bits(outputs: Mapping[str, float]) -> dict[str, bytes]:
    return {name: np.float32(value).tobytes() for name, value in outputs.items()}


def _client(model: str, version: str, digest: str, urls: Sequence[str], token: str | None) -> InferenceClient:
    """Whoever serves this archive."""
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
