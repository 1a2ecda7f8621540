"""Client of a model: predictions and explanations, whatever the transport."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.models.spec import ModelSpec
from nautilus_torchserve.serving.client.transports import Target, find_transport
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.tokens import Token
from nautilus_torchserve.wire import body
from nautilus_torchserve.wire.errors import BadType, InvalidResponse, SchemaMismatch
from nautilus_torchserve.wire.news_windows import NewsWindow, check_news, check_texts, encode_news, encode_texts

Inputs = NDArray[np.float32] | Sequence[str] | Sequence[NewsWindow]
"""Rows of numbers, texts, or windows of bars with the news about them."""


def check_inputs(inputs: Inputs, kind: str, row_shape: tuple[int, ...]) -> Inputs:
    """Return inputs that a model of this kind takes, an array as float32.

    Raises
    ------
    BadType
        They are of another kind.
    RequestError
        The server would refuse them, with the same error.
    """
    if isinstance(inputs, np.ndarray):
        _expect(kind, "rows", "an array")
        return body.check_rows(inputs, row_shape)
    if isinstance(inputs, str) or not isinstance(inputs, Sequence):
        raise BadType(f"expected {kind}, which the model takes, got {type(inputs).__name__}")
    if kind == "windows and texts":
        windows = [window for window in inputs if isinstance(window, NewsWindow)]
        others = [value for value in inputs if not isinstance(value, NewsWindow)]
        if others:
            raise BadType(f"expected {kind}, which the model takes, got a list with {type(others[0]).__name__}")
        check_news(windows, row_shape)
        return windows
    _expect(kind, "texts", "a list")
    return check_texts(inputs)


def encode_inputs(inputs: Inputs, kind: str, row_shape: tuple[int, ...]) -> tuple[bytes, str]:
    """Return a request's body and its content type; raises as `check_inputs`."""
    checked = check_inputs(inputs, kind, row_shape)
    if isinstance(checked, np.ndarray):
        return body.encode_rows(checked), body.BINARY
    if kind == "texts":
        return encode_texts([str(text) for text in checked]), body.JSON
    return encode_news([window for window in checked if isinstance(window, NewsWindow)]), body.JSON


def _expect(kind: str, given: str, got: str) -> None:
    if kind != given:
        raise BadType(f"expected {kind}, which the model takes, got {got}")


@dataclass(frozen=True)
class PredictionResponse:
    """Predictions of a model for some inputs."""

    outputs: dict[str, NDArray[np.float32]]
    """Name -> float32 [n]; for ticks ``buy``, ``sell`` and ``hold``, probabilities."""
    model: str
    """Name of the model, as registered."""
    version: str
    """Version that answered; the default version may change between two requests."""
    digest: str
    """Content digest of the archive of that version."""
    latency_ns: int
    """Wall time of the call (nanoseconds)."""


@dataclass(frozen=True)
class ExplanationResponse:
    """Explanations of a model's predictions for some inputs."""

    explanations: list[dict[str, Any]]
    """One for each input in plain JSON types; see `inference.models.tick`, `inference.models.price`,
    `inference.explain.texts` and `inference.explain.news`."""
    version: str
    """Version that answered."""
    digest: str
    """Content digest of the archive of that version."""


class InferenceClient(ABC):
    """Client of one model, made by `connect`; also a context manager."""

    metadata: ModelMetadata
    """Metadata of the version that answered when the client connected."""

    @abstractmethod
    def predict(self, inputs: Inputs, deadline_ns: int | None = None) -> PredictionResponse:
        """Request predictions and wait for them.

        Parameters
        ----------
        inputs : float32 [n, *row_shape], or list of str, or list of NewsWindow
            By the model's ``inputs``: rows, n >= 1 and finite; texts; or windows with the news about them.
        deadline_ns : int, optional
            Time after which the request is not computed any more (Unix nanoseconds).

        Raises
        ------
        RequestError
            One of `wire.errors`, the same for every transport. No request is sent twice.
        """

    @abstractmethod
    def explain(self, inputs: Inputs, output: str | None = None) -> ExplanationResponse:
        """Request explanations by integrated gradients and wait for them: some ms a row, a second a sentence.

        Explanations in process and over HTTP agree to 1e-5 of the largest attribution: unlike predictions, they are
        not computed in tiles that keep their bits.

        Parameters
        ----------
        inputs
            As for `predict`.
        output : str, optional
            One of ``metadata.explained_outputs``; default: the model's own choice.

        Raises
        ------
        NotExplained
            There is no such output, or these are more inputs than can be explained at once.
        RequestError
            As `predict`.
        """

    async def predict_async(self, inputs: Inputs, deadline_ns: int | None = None) -> PredictionResponse:
        """Do what `predict` does without blocking the event loop; each pool thread keeps its own connection."""
        return await asyncio.to_thread(self.predict, inputs, deadline_ns)

    @abstractmethod
    def close(self) -> None:
        """Close connections and remove files."""

    def __enter__(self) -> "InferenceClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(
    url: str,
    model: str,
    version: str | None = None,
    *,
    schema: FeatureSchema | None = None,
    spec: ModelSpec | None = None,
    token: Token = None,
    timeout_s: float = 5.0,
) -> InferenceClient:
    """Connect to a model, and check its version and features.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://`` of the inference port, or ``mar:PATH`` for an archive's own model in this process,
        which needs torch; see `serving.client.transports`. ``mar:PATH?trusted=DIR`` loads only an archive that one of
        the keys in DIR has signed (`signing.trust`); the environment's ``ARCHIVE_TRUSTED_KEYS`` is the default DIR.
    model : str
        Registered name.
    version : str, optional
        A fixed version; default: the server's default version, whichever that is at each request.
    schema : FeatureSchema, optional
        Features that the caller computes; a response of a version that was trained on others is refused, too.
    spec : ModelSpec, optional
        The model's spec; one with a ``mapping`` says how a model of another make is requested.
    token : Token, optional
        TorchServe's inference token, or its source at each request.
    timeout_s : float
        Longest wait for one response (seconds).

    Raises
    ------
    InvalidArgument
        No transport reaches the URL, or not a model of this spec.
    SchemaMismatch
        The model was trained on other features.
    RequestError
        The model cannot be reached, or there is no such model or version.
    UnreadableArchive, Untrusted
        The path after ``mar:`` is no archive, or one that no trusted key has signed.
    """
    target = Target(url, model, version, None if schema is None else schema.sha256, token, timeout_s, spec)
    client = find_transport(url).connect(target)
    trained, sha256 = client.metadata.feature_schema, client.metadata.feature_schema_sha256
    if schema is None or (schema.sha256 == sha256 and schema == trained):
        return client
    client.close()
    served = f"{model} {client.metadata.version} at {url}"
    if sha256 == schema.sha256:
        raise InvalidResponse(
            f"{served}: expected the feature schema of hash {sha256[:12]}, got {trained.name:.40}, which has another"
        )
    raise SchemaMismatch(
        f"{served}: expected a model trained on features {schema.name} over {schema.window} events "
        f"({schema.sha256[:12]}), got one trained on {trained.name:.40} over {trained.window} ({sha256[:12]})"
    )
