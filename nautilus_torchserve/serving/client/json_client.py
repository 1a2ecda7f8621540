"""Predictions of a model of another make, whose handler takes and answers JSON as a spec's `JsonMapping` says."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import orjson
from msgspec.structs import replace
from numpy.typing import NDArray

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.models.json_mapping import JsonMapping, JsonValue
from nautilus_torchserve.models.spec import ModelSpec
from nautilus_torchserve.serving.client.client import InferenceClient, Inputs, PredictionResponse, check_inputs
from nautilus_torchserve.serving.client.http_connection import HttpConnection, Request, Response
from nautilus_torchserve.serving.client.response_checks import describe_body
from nautilus_torchserve.serving.client.transports import Target
from nautilus_torchserve.serving.model_metadata import UNKNOWN_DIGEST, ModelMetadata
from nautilus_torchserve.user_error import InvalidArgument
from nautilus_torchserve.wire import body, headers
from nautilus_torchserve.wire.body import excerpt
from nautilus_torchserve.wire.errors import (
    DeadlinePassed,
    NotExplained,
    NotJson,
    OutputMissing,
    OutputNotNumeric,
    PredictionFailed,
    RequestError,
    SchemaMismatch,
    ServerFault,
    Unavailable,
    error_from_response,
)
from nautilus_torchserve.wire.output_constraints import PROBABILITY, OutputConstraints

MAX_ANSWER_BYTES = 1024**2
"""Longest answer about one row."""


class JsonClient(InferenceClient):
    """One request a row over HTTP, each over a connection of its own: such a handler repeats no request's id, and no
    late answer to another request comes over a new connection.

    The version is the one given to the client, since answers do not name theirs; the archive's digest is
    `UNKNOWN_DIGEST`. A failed row ends `predict` for all of its rows: callers give it ``metadata.max_rows`` of them.

    Parameters
    ----------
    target : Target
        With a version.
    spec : ModelSpec
        Of the model.
    mapping : JsonMapping
        Of the spec.

    Raises
    ------
    InvalidArgument
        There is no version, or the mapping does not suit the features.
    SchemaMismatch
        The model describes itself, so that it needs no mapping.
    RequestError
        The model cannot be reached, or there is no such model or version.
    """

    def __init__(self, target: Target, spec: ModelSpec, mapping: JsonMapping) -> None:
        if target.version is None:
            raise InvalidArgument(
                f"{target.model} at {target.url}: expected a version (--version 1.0, or version of the actor), got "
                "none: the answers of a model of another make do not say which version they are from"
            )
        self._url = f"{target.url.rstrip('/')}/predictions/{target.model}/{target.version}"
        self._model, self._timeout_s, self._mapping = target.model, target.timeout_s, mapping
        schema: FeatureSchema = spec.features.load_schema()
        self._columns = tuple(column.name for column in schema.columns)
        check_request(mapping.request, self._columns, spec.name)
        self.metadata = _metadata(target.model, target.version, spec, mapping, schema)
        self._connection = HttpConnection(target.token)
        try:
            self._check_model()
        except RequestError:
            self.close()
            raise

    def predict(self, inputs: Inputs, deadline_ns: int | None = None) -> PredictionResponse:
        began, names = time.perf_counter_ns(), self.metadata.outputs
        rows = check_inputs(inputs, self.metadata.inputs, self.metadata.feature_schema.row_shape)
        assert isinstance(rows, np.ndarray)
        table = np.empty((len(rows), len(names)), dtype=np.float32)
        for number, row in enumerate(rows):
            if deadline_ns is not None and time.time_ns() > deadline_ns:
                raise DeadlinePassed(f"{self._url}: the deadline passed before the request was sent")
            table[number] = self._predict_row(row)
        outputs = {name: table[:, column] for column, name in enumerate(names)}
        latency_ns = time.perf_counter_ns() - began
        version, digest = self.metadata.version, self.metadata.archive_digest
        return PredictionResponse(outputs, self._model, version, digest, latency_ns)

    def explain(self, inputs: Inputs, output: str | None = None) -> NoReturn:
        raise NotExplained(f"{self._model}: expected a model of this library to explain, got one of another make")

    def close(self) -> None:
        self._connection.close()

    def _predict_row(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        sent = orjson.dumps(fill_request(self._mapping.request, row, self._columns))
        response = self._send(sent, [f"Content-Type: {body.JSON}"])
        try:
            if response.status != 200:
                raise _refusal(response)
            answer = parse_answer(response.body)
            numbers = [read_output(answer, name, self._mapping.outputs[name]) for name in self.metadata.outputs]
            with np.errstate(over="ignore"):  # an overflow is found not finite
                values = np.array(numbers, dtype=np.float32)
            outputs = dict(zip(self.metadata.outputs, values.tolist(), strict=True))
            self.metadata.output_constraints.check_row(outputs)
        except RequestError as error:
            raise type(error)(f"{self._url}: {error}") from None
        return values

    def _check_model(self) -> None:
        """Check that a server has the model, which a request for its description shows without any input."""
        response = self._send(None, ["describe: True"])
        if response.status != 200:
            error = _refusal(response)
            if not isinstance(error, PredictionFailed):  # by a handler that predicts from nothing
                raise type(error)(f"{self._url}: {error}")
        if headers.ARCHIVE_DIGEST in response.headers or b'"archive_digest"' in response.body:
            raise SchemaMismatch(
                f"{self._url}: expected a model of another make, which the spec has a mapping for, got one that "
                "describes itself: leave the mapping out"
            )

    def _send(self, sent: bytes | None, extra: list[str]) -> Response:
        request = Request(self._url, sent, extra, self._timeout_s, MAX_ANSWER_BYTES, keep_alive=False)
        return self._connection.send(request)


def check_request(template: Any, columns: Sequence[str], name: str) -> None:
    """Check that a request's template can be sent, and that every column is in it.

    Raises
    ------
    InvalidArgument
    """
    try:
        orjson.dumps(template)
    except TypeError as error:
        raise InvalidArgument(f"{name}: expected a mapping's request in JSON types, got {error}") from None
    used = _placeholders(template)
    unknown = sorted(used - {"row", *columns})
    if unknown:
        raise InvalidArgument(
            f"{name}: expected $row or ${', $'.join(columns)} in the mapping's request, got ${unknown[0]} "
            f"(a text that begins with a dollar sign is written $${unknown[0]})"
        )
    unused = [column for column in columns if column not in used]
    if unused and "row" not in used:
        raise InvalidArgument(
            f"{name}: expected $row or every column in the mapping's request, got no ${', $'.join(unused)}"
        )


def _placeholders(template: Any) -> set[str]:
    if isinstance(template, str):
        return {template[1:]} if template.startswith("$") and not template.startswith("$$") else set()
    parts = (
        template.values() if isinstance(template, Mapping) else template if isinstance(template, list | tuple) else ()
    )
    return set().union(*map(_placeholders, parts))


def fill_request(template: Any, row: NDArray[np.float32], columns: Sequence[str]) -> Any:
    """Return a request's body for one row, or window [time_steps, columns], in JSON types."""
    if isinstance(template, Mapping):
        return {key: fill_request(value, row, columns) for key, value in template.items()}
    if isinstance(template, list | tuple):
        return [fill_request(value, row, columns) for value in template]
    if not isinstance(template, str) or not template.startswith("$"):
        return template
    if template.startswith("$$"):
        return template[1:]
    return (row if template == "$row" else row[..., columns.index(template[1:])]).tolist()


def parse_answer(received: bytes) -> Any:
    """Return a JSON document; Python's ``NaN`` and ``Infinity`` are read, and found not finite where they matter.

    Raises
    ------
    NotJson
    """
    try:
        return json.loads(received)
    except (ValueError, RecursionError):
        raise NotJson(f"expected an answer in JSON, got {describe_body(received)}") from None


def read_output(answer: Any, name: str, place: str | JsonValue) -> float:
    """Return the number that an output is mapped to.

    Raises
    ------
    OutputMissing
        There is nothing at its place.
    OutputNotNumeric
        It is no number.
    """
    pointer = place.pointer if isinstance(place, JsonValue) else place
    value = answer
    for token in pointer.split("/")[1:]:
        try:
            value = _step(value, token.replace("~1", "/").replace("~0", "~"))
        except LookupError:
            raise OutputMissing(f"expected output {name} at {pointer!r}, got {excerpt(answer)}") from None
    if isinstance(place, JsonValue):
        number = place.numbers.get(value) if isinstance(value, str) else None
        if number is None:
            expected = ", ".join(place.numbers)
            raise OutputNotNumeric(
                f"expected output {name} at {pointer!r} as one of {expected:.80}, got {excerpt(value)}"
            )
        return float(number)
    if type(value) not in (int, float):
        raise OutputNotNumeric(f"expected output {name} at {pointer!r} as a number, got {excerpt(value)}")
    try:
        return float(value)
    except OverflowError:
        return float("inf")  # beyond float64, as 1e999 is read


def _step(value: Any, token: str) -> Any:
    """Return a member of an object or an element of a list; raise `LookupError` where there is none, or several."""
    if isinstance(value, dict):
        return value[token]
    if not isinstance(value, list):
        raise LookupError
    key, equals, text = token.partition("=")
    if equals:
        elements = [element for element in value if isinstance(element, dict) and element.get(key) == text]
        if len(elements) != 1:
            raise LookupError
        return elements[0]
    if not (token.isascii() and token.isdigit()):
        raise LookupError
    return value[int(token)]


def _refusal(response: Response) -> RequestError:
    """Return the error that a status means; a handler's own failure is `PredictionFailed`."""
    error = error_from_response(response.status, response.body)
    is_failure = isinstance(error, ServerFault) and response.status != 507  # TorchServe's: the worker is gone
    if is_failure or (isinstance(error, Unavailable) and "Prediction failed" in str(error)):
        return PredictionFailed(str(error))
    return error


def _metadata(model: str, version: str, spec: ModelSpec, mapping: JsonMapping, schema: FeatureSchema) -> ModelMetadata:
    names = tuple(output.name for output in spec.outputs)
    constraints = OutputConstraints()
    if mapping.sum_to_one:
        constraints = OutputConstraints(dict.fromkeys(names, PROBABILITY), (names,))
    document = {
        "model": model,
        "version": version,
        "archive_digest": UNKNOWN_DIGEST,
        "outputs": list(names),
        "output_constraints": constraints.to_dict(),
        "feature_schema": orjson.loads(orjson.dumps(schema.to_dict())),
        "feature_schema_sha256": schema.sha256,
    }
    try:
        metadata = ModelMetadata.from_dict(document)
    except ValueError as error:
        raise InvalidArgument(f"{spec.name}: {error}") from None
    return replace(metadata, max_rows=1)
