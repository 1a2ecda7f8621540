"""Asking a model for predictions: over HTTP, or in this process from an archive."""

import asyncio
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from features.schema import FeatureSchema
from serving.archive_import import load_archive
from serving.http_connection import HttpConnection, Token
from serving.inputs import Inputs, check_inputs, encode_inputs
from serving.model_metadata import HOW_TO_DESCRIBE, check_metadata
from wire import body, headers
from wire.answer import decode_binary
from wire.errors import (
    BY_NAME,
    DeadlinePassed,
    InvalidResponse,
    OutputNotFinite,
    SchemaMismatch,
    ServerFault,
    Unavailable,
    UnknownModel,
)
from wire.user_error import InvalidArgument

EXPLAIN_TIMEOUT_S = 60.0
"""Least longest wait for explanations: they take as long as many predictions."""


@dataclass(frozen=True)
class Answer:
    """What a model said to some inputs."""

    outputs: dict[str, NDArray[np.float32]]
    """Name -> float32 [n]; for ticks ``buy``, ``sell`` and ``hold``, probabilities."""
    model: str
    """The name asked for."""
    version: str
    """The version that answered; the default version may move between two requests."""
    digest: str
    """Content digest of the archive that answered."""
    latency_ns: int
    """Wall time of the whole call."""


@dataclass(frozen=True)
class Explained:
    """Why a model says what it says to some inputs."""

    explanations: list[dict[str, Any]]
    """One for each input in plain JSON types, as `handlers.explain_features`, `handlers.explain_windows`,
    `handlers.explain_texts` or `handlers.explain_news` describe it."""
    version: str
    """The version that answered."""
    digest: str
    """Content digest of the archive that answered."""


class InferenceClient(ABC):
    """One model's predictions; `connect` makes one. Also a context manager."""

    metadata: dict[str, Any]
    """The archive's ``model.json`` with ``version``, ``archive_digest``, ``outputs``, ``feature_schema_sha256``,
    ``explained_outputs``, ``inputs``, ``batch_invariant``, ``tile_rows`` and ``device``, as of connecting."""

    @abstractmethod
    def predict(self, inputs: Inputs, deadline_ns: int | None = None) -> Answer:
        """Ask for predictions and wait for them.

        Parameters
        ----------
        inputs : float32 [n, *row_shape], or list of str, or list of NewsWindow
            What the model answers: rows, n >= 1 and finite; texts; or windows with the news about them.
        deadline_ns : int, optional
            Unix nanoseconds; a request that is late is not computed.

        Raises
        ------
        RequestError
            One of `wire.errors`, the same whatever the transport. Nothing is sent again.
        """

    @abstractmethod
    def explain(self, inputs: Inputs, output: str | None = None) -> Explained:
        """Ask what moved an output, by integrated gradients, and wait for it: some ms a row, a second a sentence.

        In process and over the port explanations agree to 1e-5 of the largest attribution: unlike predictions,
        they are not computed in tiles that keep their bits.

        Parameters
        ----------
        inputs
            As for `predict`.
        output : str, optional
            One of ``explained_outputs`` in `metadata`; left out: the model's own choice.

        Raises
        ------
        NotExplained
            There is no such output, or more was asked than can be explained at once.
        RequestError
            As `predict`.
        """

    async def predict_async(self, inputs: Inputs, deadline_ns: int | None = None) -> Answer:
        """Like `predict`, without blocking the event loop; each pool thread keeps its own connection."""
        return await asyncio.to_thread(self.predict, inputs, deadline_ns)

    @abstractmethod
    def close(self) -> None:
        """Give back connections and files."""

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
    token: Token = None,
    timeout_s: float = 5.0,
) -> InferenceClient:
    """Connect to a model and check that it is the one meant.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://`` of the inference port, or ``mar:PATH`` for an archive's own
        handler run in this process (needs torch and torchserve here).
    model : str
        The registered name.
    version : str, optional
        A fixed version; without it the server's default one, whichever that is at each request.
    schema : FeatureSchema, optional
        The features that the caller computes; an answer by a version that was trained on others is refused, too.
    token : Token, optional
        TorchServe's inference token, or what says which it is at each request.
    timeout_s : float
        Longest wait for one answer, seconds.

    Raises
    ------
    SchemaMismatch
        The model was trained on other features.
    RequestError
        The model cannot be reached, or there is no such model or version.
    UnreadableArchive
        The path after ``mar:`` is no archive.
    """
    client: InferenceClient
    if url.startswith("mar:"):
        client = InProcessClient(Path(url.removeprefix("mar:")), model, version)
    elif url.startswith(("http://", "https://")):
        client = HttpClient(url, model, version, token, timeout_s, None if schema is None else schema.sha256)
    else:
        raise InvalidArgument(f"url beginning with http://, https:// or mar: expected, was {url!r}")
    theirs = client.metadata["feature_schema_sha256"]
    if schema is not None and schema.sha256 != theirs:
        client.close()
        raise SchemaMismatch(
            f"{model} {client.metadata['version']} at {url}: trained on features "
            f"{client.metadata['feature_schema']['name']} over {client.metadata['feature_schema']['window']} events "
            f"({theirs[:12]}), was asked with {schema.name} over {schema.window} ({schema.sha256[:12]})"
        )
    return client


class HttpClient(InferenceClient):
    """Keep-alive HTTP, see `HttpConnection`. Safe to use from several threads: each has its own connection."""

    def __init__(
        self,
        url: str,
        model: str,
        version: str | None,
        token: Token,
        timeout_s: float,
        schema_sha256: str | None = None,
    ) -> None:
        route = "/".join((model, *([version] if version else [])))
        self._url = f"{url.rstrip('/')}/predictions/{route}"
        self._explanations = f"{url.rstrip('/')}/explanations/{route}"
        self._model = model
        self._timeout_s = timeout_s
        self._schema_sha256 = schema_sha256
        self._connection = HttpConnection(token)
        self.metadata = self._describe()
        self._names = tuple(self.metadata["outputs"])
        self._shape = tuple(FeatureSchema.from_dict(self.metadata["feature_schema"]).row_shape)
        self._kind: str = self.metadata["inputs"]

    def _describe(self) -> dict[str, Any]:
        try:
            received, _ = self._connection.exchange(self._url, None, ["describe: True"], self._timeout_s)
        except (ServerFault, Unavailable) as error:
            if isinstance(error, Unavailable) and "Prediction failed" not in str(error):
                raise
            # a handler that tries to predict from a request without a body
            raise InvalidResponse(f"{error}; the model may not describe itself: {HOW_TO_DESCRIBE}") from error
        try:
            return check_metadata(orjson.loads(received))
        except orjson.JSONDecodeError:
            raise InvalidResponse(
                f"{self._url}: expected a JSON object in which the model describes itself, got {shown(received)}: "
                f"{HOW_TO_DESCRIBE}"
            ) from None
        except ValueError as error:
            raise InvalidResponse(f"{self._url}: {error}") from None

    def predict(self, inputs: Inputs, deadline_ns: int | None = None) -> Answer:
        began = time.perf_counter_ns()
        sent, content_type = encode_inputs(inputs, self._kind, self._shape)
        extra = [f"Content-Type: {content_type}", f"Accept: {body.BINARY}"]
        if deadline_ns is not None:
            extra.append(f"{headers.DEADLINE_NS}: {deadline_ns}")
        received, said = self._connection.exchange(self._url, sent, extra, self._timeout_s)
        version, digest = self._sender(self._url, received, said, body.BINARY)
        expected = len(inputs) * len(self._names) * body.FLOAT32.itemsize
        if len(received) != expected:
            raise InvalidResponse(
                f"{self._url}: expected {len(inputs)} rows of {len(self._names)} float32 values ({expected} bytes), "
                f"got {len(received)} bytes"
            )
        table = decode_binary(received, len(self._names))
        if not np.isfinite(table).all():
            raise OutputNotFinite(f"{self._url}: expected finite outputs, got {table[~np.isfinite(table)][0]}")
        outputs = {name: table[:, column] for column, name in enumerate(self._names)}
        return Answer(outputs, self._model, version, digest, time.perf_counter_ns() - began)

    def _sender(self, url: str, received: bytes, said: dict[str, str], content_type: str) -> tuple[str, str]:
        """Version and digest of the archive that sent an answer, whose headers say that it is one."""
        if said.get("content-type", "").partition(";")[0].strip().lower() != content_type:
            got = f"{said.get('content-type') or 'no content type'} with {shown(received)}"
            raise InvalidResponse(f"{url}: expected an answer of content type {content_type}, got {got}")
        for name in (headers.MODEL_VERSION, headers.ARCHIVE_DIGEST, headers.FEATURE_SCHEMA):
            if not said.get(name):
                raise InvalidResponse(f"{url}: expected an answer with header {name}, got none")
        self._check_schema(said)
        return said[headers.MODEL_VERSION], said[headers.ARCHIVE_DIGEST]

    def _check_schema(self, said: dict[str, str]) -> None:
        """The default version may have become one that was trained on other features of the same shape."""
        theirs = said[headers.FEATURE_SCHEMA]
        if self._schema_sha256 is not None and theirs != self._schema_sha256:
            raise SchemaMismatch(
                f"{self._url}: an answer by a model trained on features {self._schema_sha256[:12]} expected, "
                f"was by {said[headers.MODEL_VERSION]} trained on {theirs[:12]}"
            )

    def explain(self, inputs: Inputs, output: str | None = None) -> Explained:
        sent, content_type = encode_inputs(inputs, self._kind, self._shape)
        extra = [f"Content-Type: {content_type}", f"Accept: {body.JSON}"]
        if output is not None:
            extra.append(f"{headers.EXPLAIN_OUTPUT}: {output}")
        timeout_s = max(self._timeout_s, EXPLAIN_TIMEOUT_S)
        received, said = self._connection.exchange(self._explanations, sent, extra, timeout_s)
        version, digest = self._sender(self._explanations, received, said, body.JSON)
        try:
            found = orjson.loads(received)["explanations"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            found = None
        are_objects = isinstance(found, list) and all(isinstance(each, dict) for each in found)
        if not are_objects or len(found) != len(inputs):
            raise InvalidResponse(f"{self._explanations}: expected {len(inputs)} explanations, got {shown(received)}")
        return Explained(found, version, digest)

    def close(self) -> None:
        self._connection.close()


def shown(received: bytes) -> str:
    """What was received, for a message, however long and whatever it is."""
    text = " ".join(received[:200].decode(errors="replace").split())
    return f"{len(received)} bytes that begin with {text[:40]!r}" if received else "an empty body"


class InProcessClient(InferenceClient):
    """An archive's own handler in this process: no server, the same bits.

    Sets torch to one thread, as in a worker: with more, kernels and so bits may differ.
    """

    def __init__(self, archive: Path, model: str, version: str | None) -> None:
        self._model = model
        self._folder = tempfile.TemporaryDirectory(prefix="mar-")
        self._archive = load_archive(archive, Path(self._folder.name), model)
        self._handler = self._archive.handler
        self.metadata = self._archive.metadata
        self._version, self._digest = self.metadata["version"], self.metadata["archive_digest"]
        if version is not None and version != self._version:
            self.close()
            raise UnknownModel(f"{archive}: version {version} expected, was {self._version}")
        self._names = tuple(self.metadata["outputs"])
        self._shape = FeatureSchema.from_dict(self.metadata["feature_schema"]).row_shape
        self._kind: str = self.metadata["inputs"]

    def predict(self, inputs: Inputs, deadline_ns: int | None = None) -> Answer:
        began = time.perf_counter_ns()
        inputs = check_inputs(inputs, self._kind, self._shape)
        if deadline_ns is not None and time.time_ns() > deadline_ns:
            raise DeadlinePassed(f"an answer before {deadline_ns} was asked for")
        try:
            table = self._handler.predict(inputs)
        except self._archive.request_error as error:  # the archive's own class of that name
            raise BY_NAME[type(error).__name__](str(error)) from error
        outputs = {name: table[:, column] for column, name in enumerate(self._names)}
        return Answer(outputs, self._model, self._version, self._digest, time.perf_counter_ns() - began)

    def explain(self, inputs: Inputs, output: str | None = None) -> Explained:
        inputs = check_inputs(inputs, self._kind, self._shape)
        try:
            found = self._handler.explanations(inputs, output)
        except self._archive.request_error as error:
            raise BY_NAME[type(error).__name__](str(error)) from error
        return Explained(found, self._version, self._digest)

    def close(self) -> None:
        self._archive.unload()
        self._folder.cleanup()

