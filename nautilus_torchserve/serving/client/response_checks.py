"""Checks of what a model responds, against its description and the request: nothing is used before they pass."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.client.client import Inputs
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.wire import headers
from nautilus_torchserve.wire.body import BINARY, excerpt
from nautilus_torchserve.wire.errors import InvalidResponse, ModelChanged, SchemaMismatch, one_line
from nautilus_torchserve.wire.news_windows import NewsWindow


@dataclass(frozen=True)
class ServedVersion:
    """A version that has answered, which its responses are checked against."""

    metadata: ModelMetadata
    echoes: bool
    """Whether it sends a request's id back; archives of earlier releases do not, see `HttpClient`."""

    def check_successor(self, other: ModelMetadata) -> None:
        """Check that a request prepared for this version suits another.

        Raises
        ------
        SchemaMismatch
            It takes other inputs, or names its outputs differently.
        """
        ours = self.metadata
        for name, expected, got in (
            ("inputs", ours.inputs, other.inputs),
            ("rows of shape", ours.feature_schema.row_shape, other.feature_schema.row_shape),
            ("outputs", ", ".join(ours.outputs), ", ".join(other.outputs)),
        ):
            if expected != got:
                raise SchemaMismatch(f"version {other.version}: expected {name} {expected!s:.80}, got {got!s:.80}")

    def check_archive(self, digest: str) -> None:
        """Raise `ModelChanged` where this version answers from another archive."""
        known = self.metadata
        if digest != known.archive_digest:
            raise ModelChanged(
                f"version {known.version}: expected archive {known.archive_digest[:12]}, which was there when the "
                f"client connected, got {one_line(digest)[:12]}; connect again to use it"
            )


Sender = tuple[str, str, str]
"""Version, archive digest and hash of the feature schema in a response's headers."""
_SENDER_HEADERS = (headers.MODEL_VERSION, headers.ARCHIVE_DIGEST, headers.FEATURE_SCHEMA)


def read_sender(received: dict[str, str]) -> Sender:
    """Return the sender of a response, by its headers.

    Raises
    ------
    InvalidResponse
        A header is missing.
    """
    version, digest, schema_sha256 = (received.get(name, "") for name in _SENDER_HEADERS)
    if not (version and digest and schema_sha256):
        missing = next(name for name in _SENDER_HEADERS if not received.get(name))
        raise InvalidResponse(f"expected an answer with header {missing}, got none")
    return version, digest, schema_sha256


def check_content(received: dict[str, str], body: bytes, content_type: str) -> None:
    """Check the type, the encoding and the declared length of a response's body.

    Raises
    ------
    InvalidResponse
    """
    received_type = received.get("content-type", "")
    if received_type != content_type and received_type.partition(";")[0].strip().lower() != content_type:
        got = f"{one_line(received_type) or 'no content type'} with {describe_body(body)}"
        raise InvalidResponse(f"expected an answer of content type {content_type}, got {got}")
    encoding = received.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise InvalidResponse(f"expected an answer without content encoding, got {one_line(encoding)}")
    length = received.get("content-length")
    if length is not None and length != str(len(body)) and "transfer-encoding" not in received:
        raise InvalidResponse(f"expected a body of content length {one_line(length):.40}, got {len(body)} bytes")


def check_length(body: bytes, rows: int, outputs: int) -> None:
    """Check that a body of `BINARY` holds float32 [rows, outputs]; raises `InvalidResponse`."""
    expected = rows * outputs * 4
    if len(body) != expected:
        raise InvalidResponse(
            f"expected {rows} rows of {outputs} float32 values ({expected} bytes) as {BINARY}, got {len(body)} bytes"
        )


def describe_body(received: bytes) -> str:
    """Return what was received as the end of a message, however long and whatever it is."""
    text = one_line(received[:200].decode(errors="replace"))
    return f"{len(received)} bytes that begin with {text[:40]!r}" if received else "an empty body"


def read_explanations(body: bytes, inputs: Inputs, output: str | None, schema: FeatureSchema) -> list[dict[str, Any]]:
    """Parse a response's body, and check it; see `check_explanations`."""
    try:
        explanations = orjson.loads(body)["explanations"]  # refuses NaN and infinity
    except (orjson.JSONDecodeError, LookupError, TypeError):
        raise InvalidResponse(f"expected {len(inputs)} explanations, got {describe_body(body)}") from None
    check_explanations(explanations, inputs, output, schema)
    return explanations


def check_explanations(explanations: object, inputs: Inputs, output: str | None, schema: FeatureSchema) -> None:
    """Check that there is one explanation for each input: of the requested output, and about that input.

    The fields are those that `inference.explain` writes; a model of another kind may write more, or fewer.

    Parameters
    ----------
    inputs : Inputs
        Inputs of the request.
    output : str, optional
        Requested output.
    schema : FeatureSchema
        Of the version that answered.

    Raises
    ------
    InvalidResponse
    """
    if (
        not isinstance(explanations, list)
        or len(explanations) != len(inputs)
        or not all(isinstance(value, dict) for value in explanations)
    ):
        got = f"{len(explanations)} values" if isinstance(explanations, list) else type(explanations).__name__
        raise InvalidResponse(f"expected {len(inputs)} explanations, got {got}")
    for number, explanation in enumerate(explanations):
        try:
            _check_one(explanation, inputs[number], output, schema)
        except InvalidResponse as error:
            raise InvalidResponse(f"explanation {number}: {error}") from None


def _check_one(explanation: Mapping[str, Any], given: Any, output: str | None, schema: FeatureSchema) -> None:
    if output is not None and explanation.get("output") != output:
        raise InvalidResponse(f"expected output {output}, got {excerpt(explanation.get('output'))}")
    _check_numbers(explanation, ("value", "baseline_value"))
    if isinstance(given, str):
        if explanation.get("text", given) != given:
            raise InvalidResponse("expected the text that was sent, got another")
        _check_rows(explanation, "tokens")
        return
    row = np.asarray(given.window if isinstance(given, NewsWindow) else given)
    names = [column.name for column in schema.columns]
    if _check_rows(explanation, "features") not in (None, names):
        raise InvalidResponse(f"expected features {', '.join(names):.80}, got others")
    for part in (explanation, explanation.get("price")):  # of an ensemble's, the part that explains the window
        if isinstance(part, dict):
            _check_window(part, row)


def _check_rows(explanation: Mapping[str, Any], key: str) -> list[Any] | None:
    """Return the names in a list of objects with an attribution each; None where there is no list."""
    rows = explanation.get(key)
    if rows is None:
        return None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidResponse(f"expected {key} as a list of objects, got {excerpt(rows)}")
    for row in rows:
        _check_numbers(row, ("value", "baseline", "attribution"))
    return [row.get("name") for row in rows]


def _check_numbers(values: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in keys:
        if key in values and not _is_number(values[key]):
            raise InvalidResponse(f"expected {key} as a finite number, got {excerpt(values[key])}")


def _check_window(explanation: Mapping[str, Any], row: np.ndarray) -> None:
    for key in ("window", "attributions"):
        values = explanation.get(key)
        if values is None:
            continue
        if not _has_shape(values, row.shape):
            raise InvalidResponse(f"expected {key} of shape {list(row.shape)}, got another")
        if key == "window" and not np.array_equal(np.asarray(values, np.float32), row):
            raise InvalidResponse("expected the window that was sent, got another")


def _has_shape(values: object, shape: Sequence[int]) -> bool:
    if not shape:
        return _is_number(values)
    return (
        isinstance(values, list) and len(values) == shape[0] and all(_has_shape(value, shape[1:]) for value in values)
    )


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
