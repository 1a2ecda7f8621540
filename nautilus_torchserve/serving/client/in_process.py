"""Predictions in this process, by an archive's own model."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nautilus_torchserve.serving.client.archive_import import TRUSTED_VARIABLE, load_archive, one_line, place
from nautilus_torchserve.serving.client.client import (
    ExplanationResponse,
    InferenceClient,
    Inputs,
    PredictionResponse,
    check_inputs,
)
from nautilus_torchserve.serving.client.response_checks import check_explanations
from nautilus_torchserve.user_error import InvalidArgument
from nautilus_torchserve.wire.errors import (
    BY_NAME,
    CLIENT_CHECKED_ERRORS,
    DeadlinePassed,
    InvalidResponse,
    RequestError,
    ServerFault,
    UnknownModel,
)


def parse_archive_url(url: str) -> tuple[Path, Path | None]:
    """Return the archive of ``mar:PATH?trusted=DIR``, and the folder of the keys whose signature it needs."""
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
        if version is not None and version != self.metadata.version:
            self.close()
            raise UnknownModel(f"{archive}: expected version {version}, got {self.metadata.version}")

    def predict(self, inputs: Inputs, deadline_ns: int | None = None) -> PredictionResponse:
        began = time.perf_counter_ns()
        metadata = self.metadata
        inputs = check_inputs(inputs, metadata.inputs, metadata.feature_schema.row_shape)
        if deadline_ns is not None and time.time_ns() > deadline_ns:
            raise DeadlinePassed(f"expected a request before its deadline {deadline_ns}, got one after it")
        table = self._call(lambda: self._archive.model.predict(inputs))
        _check_shape(table, len(inputs), len(metadata.outputs))
        metadata.output_constraints.check_table(table, metadata.outputs)
        outputs = {name: table[:, column] for column, name in enumerate(metadata.outputs)}
        latency_ns = time.perf_counter_ns() - began
        return PredictionResponse(outputs, self._model, metadata.version, metadata.archive_digest, latency_ns)

    def explain(self, inputs: Inputs, output: str | None = None) -> ExplanationResponse:
        metadata = self.metadata
        inputs = check_inputs(inputs, metadata.inputs, metadata.feature_schema.row_shape)
        explanations = self._call(lambda: self._archive.model.explanations(inputs, output))
        check_explanations(explanations, inputs, output, metadata.feature_schema)
        return ExplanationResponse(explanations, metadata.version, metadata.archive_digest)

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


def _check_shape(table: object, rows: int, outputs: int) -> None:
    """Raise `InvalidResponse` unless a table of an archive's model is float32 [rows, outputs]."""
    if not isinstance(table, np.ndarray) or table.dtype != np.float32 or table.shape != (rows, outputs):
        got = f"{table.dtype} {list(table.shape)}" if isinstance(table, np.ndarray) else type(table).__name__
        raise InvalidResponse(f"expected float32 [{rows}, {outputs}] of the archive's model, got {got}")


def _as_ours(error: Exception) -> RequestError:
    """Return the error of this library that has the name of an archive's own; it cannot blame inputs checked here."""
    kind, name = BY_NAME.get(type(error).__name__, ServerFault), type(error).__name__
    if issubclass(kind, CLIENT_CHECKED_ERRORS):
        return InvalidResponse(f"expected an answer to valid inputs of the archive's model, got {name}: {error}")
    return kind(str(error))
