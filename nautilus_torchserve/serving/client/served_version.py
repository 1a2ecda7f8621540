"""What the answers of one version of a model are checked against: its own description."""

from dataclasses import dataclass

import numpy as np

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.wire import headers
from nautilus_torchserve.wire.body import BINARY
from nautilus_torchserve.wire.errors import InvalidResponse, ModelChanged, SchemaMismatch, one_line
from nautilus_torchserve.wire.output_constraints import OutputConstraints


@dataclass(frozen=True)
class ServedVersion:
    """One version, as it describes itself."""

    version: str
    digest: str
    """Content digest of its archive."""
    schema: FeatureSchema
    schema_sha256: str
    """Of the features that it was trained on, as its answers say it."""
    inputs: str
    """What a request holds."""
    outputs: tuple[str, ...]
    """Names, in the order of an answer's columns."""
    constraints: OutputConstraints
    echoes: bool
    """Whether it sends a request's id back. Archives built before that do not: see
    `serving.client.client.HttpClient`.
    """

    @classmethod
    def from_metadata(cls, metadata: ModelMetadata, echoes: bool = True) -> "ServedVersion":
        """Take what is checked from a version's metadata."""
        return cls(
            metadata.version,
            metadata.archive_digest,
            metadata.feature_schema,
            metadata.feature_schema_sha256,
            metadata.inputs,
            metadata.outputs,
            metadata.output_constraints,
            echoes,
        )

    def check_successor(self, other: "ServedVersion") -> None:
        """Check that what was prepared for this version can be asked of another.

        Raises
        ------
        SchemaMismatch
            It takes other inputs, or names its outputs differently.
        """
        for what, ours, got in (
            ("inputs", self.inputs, other.inputs),
            ("rows of shape", self.schema.row_shape, other.schema.row_shape),
            ("outputs", ", ".join(self.outputs), ", ".join(other.outputs)),
        ):
            if ours != got:
                raise SchemaMismatch(f"version {other.version}: expected {what} {ours!s:.80}, got {got!s:.80}")


Sender = tuple[str, str, str]
"""Version, archive digest and hash of the feature schema, as an answer's headers say them."""


_OF_SENDER = (headers.MODEL_VERSION, headers.ARCHIVE_DIGEST, headers.FEATURE_SCHEMA)


def sender(received: dict[str, str]) -> Sender:
    """Who an answer says that it is by.

    Raises
    ------
    InvalidResponse
        A header is missing.
    """
    version, digest, schema_sha256 = (received.get(name, "") for name in _OF_SENDER)
    if not (version and digest and schema_sha256):
        missing = next(name for name in _OF_SENDER if not received.get(name))
        raise InvalidResponse(f"expected an answer with header {missing}, got none")
    return version, digest, schema_sha256


def check_content(received: dict[str, str], body: bytes, content_type: str) -> None:
    """Check the type, the encoding and the declared length of an answer's body.

    Raises
    ------
    InvalidResponse
    """
    found = received.get("content-type", "")
    if found != content_type and found.partition(";")[0].strip().lower() != content_type:
        got = f"{one_line(found) or 'no content type'} with {shown(body)}"
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


def check_table(table: object, rows: int, outputs: int) -> None:
    """Check that what an archive's handler answers in this process is float32 [rows, outputs].

    Raises
    ------
    InvalidResponse
    """
    if not isinstance(table, np.ndarray) or table.dtype != np.float32 or table.shape != (rows, outputs):
        got = f"{table.dtype} {list(table.shape)}" if isinstance(table, np.ndarray) else type(table).__name__
        raise InvalidResponse(f"expected float32 [{rows}, {outputs}] of the archive's handler, got {got}")


def refuse_other_archive(known: ServedVersion, digest: str) -> None:
    """Raise `ModelChanged` where a known version answers from another archive."""
    if digest != known.digest:
        raise ModelChanged(
            f"version {known.version}: expected archive {known.digest[:12]}, which was there when the client "
            f"connected, got {one_line(digest)[:12]}; connect again to use it"
        )


def shown(received: bytes) -> str:
    """What was received, for a message, however long and whatever it is."""
    text = one_line(received[:200].decode(errors="replace"))
    return f"{len(received)} bytes that begin with {text[:40]!r}" if received else "an empty body"
