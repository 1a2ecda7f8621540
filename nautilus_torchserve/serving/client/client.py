"""Asking a model for predictions: over HTTP, or in this process from an archive."""

import asyncio
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.client.archive_file import one_line
from nautilus_torchserve.serving.client.archive_import import TRUSTED_VARIABLE, load_archive, place
from nautilus_torchserve.serving.client.explanation_checks import check_explanations
from nautilus_torchserve.serving.client.inputs import Inputs, check_inputs
from nautilus_torchserve.serving.client.served_version import ServedVersion, check_table
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.tokens import Token
from nautilus_torchserve.user_error import InvalidArgument
from nautilus_torchserve.wire.errors import (
    BY_NAME,
    PROVEN_RIGHT,
    DeadlinePassed,
    InvalidResponse,
    RequestError,
    SchemaMismatch,
    ServerFault,
    UnknownModel,
)


@dataclass(frozen=True)
class PredictionResponse:
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
class ExplanationResponse:
    """Why a model says what it says to some inputs."""

    explanations: list[dict[str, Any]]
    """One for each input in plain JSON types, as `inference.models.tick`,
    `inference.models.price`, `inference.explain.texts` or `inference.explain.news` describe it."""
    version: str
    """The version that answered."""
    digest: str
    """Content digest of the archive that answered."""


class InferenceClient(ABC):
    """One model's predictions; `connect` makes one. Also a context manager."""

    metadata: ModelMetadata
    """Of the version that answered first, as of connecting."""

    @abstractmethod
    def predict(self, inputs: Inputs, deadline_ns: int | None = None) -> PredictionResponse:
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
    def explain(self, inputs: Inputs, output: str | None = None) -> ExplanationResponse:
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

    async def predict_async(self, inputs: Inputs, deadline_ns: int | None = None) -> PredictionResponse:
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
        model run in this process (needs torch here). ``mar:PATH?trusted=DIR`` runs it only where one
        of the keys in DIR has signed it (`signing.trust`); the environment's ``ARCHIVE_TRUSTED_KEYS`` is the default
        DIR.
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
    UnreadableArchive, Untrusted
        The path after ``mar:`` is no archive, or one that no trusted key has signed.
    """
    client: InferenceClient
    if url.startswith("mar:"):
        client = InProcessClient(*_parse_archive_url(url), model, version)
    elif url.startswith(("http://", "https://")):
        from nautilus_torchserve.serving.client.http_client import HttpClient  # which is an `InferenceClient`

        client = HttpClient(url, model, version, token, timeout_s, None if schema is None else schema.sha256)
    else:
        raise InvalidArgument(f"url beginning with http://, https:// or mar: expected, was {url!r}")
    theirs, trained = client.metadata.feature_schema_sha256, client.metadata.feature_schema
    if schema is not None and schema.sha256 != theirs:
        client.close()
        raise SchemaMismatch(
            f"{model} {client.metadata.version} at {url}: trained on features "
            f"{trained.name:.40} over {trained.window} events "
            f"({theirs[:12]}), was asked with {schema.name} over {schema.window} ({schema.sha256[:12]})"
        )
    if schema is not None and trained != schema:
        client.close()
        raise InvalidResponse(
            f"{model} {client.metadata.version} at {url}: expected the feature schema of hash {theirs[:12]}, "
            f"got {trained.name:.40}, which has another"
        )
    return client


def _parse_archive_url(url: str) -> tuple[Path, Path | None]:
    """The archive of ``mar:PATH?trusted=DIR``, and the folder of the keys whose signature it needs."""
    path, option, trusted = url.removeprefix("mar:").rpartition("?trusted=")
    if not option:
        path, trusted = trusted, os.environ.get(TRUSTED_VARIABLE, "")
    elif not trusted:
        raise InvalidArgument(f"expected a folder of keys after ?trusted=, got {url!r:.200}")
    return Path(path), Path(trusted) if trusted else None


class InProcessClient(InferenceClient):
    """An archive's own model in this process: no server, the same bits.

    Sets torch to one thread, as in a worker: with more, kernels and so bits may differ.
    """

    def __init__(self, archive: Path, trusted: Path | None, model: str, version: str | None) -> None:
        self._model, self._path = model, archive
        self._folder = tempfile.TemporaryDirectory(prefix="mar-")
        self._archive = load_archive(archive, Path(self._folder.name), trusted)
        self.metadata = self._archive.metadata
        self._version, self._digest = self.metadata.version, self.metadata.archive_digest
        if version is not None and version != self._version:
            self.close()
            raise UnknownModel(f"{archive}: version {version} expected, was {self._version}")
        self._served = ServedVersion.from_metadata(self.metadata)

    def predict(self, inputs: Inputs, deadline_ns: int | None = None) -> PredictionResponse:
        began = time.perf_counter_ns()
        served = self._served
        inputs = check_inputs(inputs, served.inputs, served.schema.row_shape)
        if deadline_ns is not None and time.time_ns() > deadline_ns:
            raise DeadlinePassed(f"an answer before {deadline_ns} was asked for")
        table = self._call(lambda: self._archive.model.predict(inputs))
        check_table(table, len(inputs), len(served.outputs))
        served.constraints.check_table(table, served.outputs)
        outputs = {name: table[:, column] for column, name in enumerate(served.outputs)}
        return PredictionResponse(outputs, self._model, self._version, self._digest, time.perf_counter_ns() - began)

    def explain(self, inputs: Inputs, output: str | None = None) -> ExplanationResponse:
        inputs = check_inputs(inputs, self._served.inputs, self._served.schema.row_shape)
        found = self._call(lambda: self._archive.model.explanations(inputs, output))
        check_explanations(found, inputs, output, self._served.schema)
        return ExplanationResponse(found, self._version, self._digest)

    def close(self) -> None:
        self._archive.unload()
        self._folder.cleanup()

    def _call(self, call: Callable[[], Any]) -> Any:
        """Call the archive's model; whatever its code, which is not ours, raises is a `RequestError`."""
        try:
            return call()
        except self._archive.request_error as error:  # the archive's own class of that name
            raise _as_ours(error) from error
        except Exception as error:
            raise ServerFault(f"{self._path}: {one_line(error)}{place(error, Path(self._folder.name))}") from error


def _as_ours(error: Exception) -> RequestError:
    """An archive's own error as this checkout's of that name; inputs that were checked here it cannot blame."""
    kind, name = BY_NAME.get(type(error).__name__, ServerFault), type(error).__name__
    if issubclass(kind, PROVEN_RIGHT):
        return InvalidResponse(f"expected an answer to valid inputs of the archive's model, got {name}: {error}")
    return kind(str(error))
