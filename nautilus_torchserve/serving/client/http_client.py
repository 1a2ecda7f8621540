"""Predictions over HTTP, and the check of whatever responds."""

import itertools
import secrets
import time
from typing import NamedTuple

import orjson

from nautilus_torchserve.serving.client.client import (
    ExplanationResponse,
    InferenceClient,
    Inputs,
    PredictionResponse,
    encode_inputs,
)
from nautilus_torchserve.serving.client.http_connection import HttpConnection, Request, Response
from nautilus_torchserve.serving.client.response_checks import (
    Sender,
    ServedVersion,
    check_content,
    check_length,
    describe_body,
    read_explanations,
    read_sender,
)
from nautilus_torchserve.serving.client.transports import Target
from nautilus_torchserve.serving.model_metadata import HOW_TO_DESCRIBE, ModelMetadata, is_digest
from nautilus_torchserve.wire import body, headers
from nautilus_torchserve.wire.body import decode_binary
from nautilus_torchserve.wire.errors import (
    CLIENT_CHECKED_ERRORS,
    BadText,
    BadWindow,
    InvalidResponse,
    NotExplained,
    RequestError,
    SchemaMismatch,
    ServerFault,
    Unavailable,
    error_from_response,
    one_line,
)
from nautilus_torchserve.wire.names import is_version

EXPLAIN_TIMEOUT_S = 60.0
"""Least timeout of explanations, which take as long as many predictions."""
MAX_DESCRIPTION_BYTES = 4 * 1024**2
"""Longest description of a model."""
MAX_DESCRIPTION_VALUES = 100_000
"""Most values in a description, at any depth."""
MAX_EXPLANATION_BYTES = 16 * 1024**2
"""Longest body of explanations."""
MAX_VERSIONS = 64
"""Most versions that may answer one client."""


class HttpClient(InferenceClient):
    """Keep-alive HTTP, see `HttpConnection`. Safe to use from several threads: each has its own connection.

    Nothing of a response is used before it is checked: that it answers this request (each carries an id, which the
    response repeats), its form, its sender, and its values (`wire.output_constraints`). A response that cannot be the
    model's is an `InvalidResponse`, and the connection that it came over is closed. The description of a version that
    has not answered before is read first.

    A request to an archive of an earlier release, which does not repeat ids, takes a new connection, over which no
    late answer to another request can come.
    """

    def __init__(self, target: Target) -> None:
        base = target.url.rstrip("/")
        self._predictions, self._explanations = (
            f"{base}/{name}/{target.model}" for name in ("predictions", "explanations")
        )
        self._model, self._version = target.model, target.version
        self._timeout_s = target.timeout_s
        self._schema_sha256 = target.schema_sha256
        self._connection = HttpConnection(target.token)
        self._id_prefix, self._numbers = secrets.token_hex(8), itertools.count()
        try:
            self.metadata, echoes = self._describe(self._version)
        except RequestError:
            self.close()
            raise
        self._first = ServedVersion(self.metadata, echoes)
        first = self.metadata
        sender = first.version, first.archive_digest, first.feature_schema_sha256
        self._known: dict[Sender, ServedVersion] = {sender: self._first}
        self._last = self._first
        """The version that answered last."""

    def predict(self, inputs: Inputs, deadline_ns: int | None = None) -> PredictionResponse:
        began = time.perf_counter_ns()
        first = self.metadata
        sent, content_type = encode_inputs(inputs, first.inputs, first.feature_schema.row_shape)
        extra = [f"Content-Type: {content_type}", f"Accept: {body.BINARY}"]
        if deadline_ns is not None:
            extra.append(f"{headers.DEADLINE_NS}: {deadline_ns}")
        url = _route(self._predictions, self._version)
        limit = len(inputs) * len(first.outputs) * body.FLOAT32.itemsize
        reply = self._exchange(url, sent, extra, self._timeout_s, limit, self._last.echoes)
        response = reply.response
        try:
            check_content(response.headers, response.body, body.BINARY)
            served = self._sender(reply).metadata
            check_length(response.body, len(inputs), len(served.outputs))
            table = decode_binary(response.body, len(served.outputs))
            served.output_constraints.check_table(table, served.outputs)
        except RequestError as error:
            raise self._unusable(url, error) from None
        outputs = {name: table[:, column] for column, name in enumerate(served.outputs)}
        latency_ns = time.perf_counter_ns() - began
        return PredictionResponse(outputs, self._model, served.version, served.archive_digest, latency_ns)

    def explain(self, inputs: Inputs, output: str | None = None) -> ExplanationResponse:
        first = self.metadata
        sent, content_type = encode_inputs(inputs, first.inputs, first.feature_schema.row_shape)
        extra = [f"Content-Type: {content_type}", f"Accept: {body.JSON}"]
        if output is not None:
            if not (output.isascii() and output.isprintable()):
                names = ", ".join(self.metadata.explained_outputs)
                raise NotExplained(f"expected one of {names:.80} to explain, got {output!r:.40}")
            extra.append(f"{headers.EXPLAIN_OUTPUT}: {output}")
        timeout_s = max(self._timeout_s, EXPLAIN_TIMEOUT_S)
        url = _route(self._explanations, self._version)
        reply = self._exchange(url, sent, extra, timeout_s, MAX_EXPLANATION_BYTES, self._last.echoes)
        try:
            check_content(reply.response.headers, reply.response.body, body.JSON)
            served = self._sender(reply).metadata
            explanations = read_explanations(reply.response.body, inputs, output, served.feature_schema)
        except RequestError as error:
            raise self._unusable(url, error) from None
        return ExplanationResponse(explanations, served.version, served.archive_digest)

    def close(self) -> None:
        self._connection.close()

    def _describe(self, version: str | None) -> tuple[ModelMetadata, bool]:
        """Read a version's metadata, and whether it repeats a request's id."""
        url = _route(self._predictions, version)
        try:
            # over a connection of its own: whether ids are sent back is not known yet
            reply = self._exchange(
                url, None, ["describe: True"], self._timeout_s, MAX_DESCRIPTION_BYTES, keep_alive=False
            )
        except (ServerFault, Unavailable) as error:
            if isinstance(error, Unavailable) and "Prediction failed" not in str(error):
                raise
            # a handler that tries to predict from a request without a body
            raise InvalidResponse(f"{error}; the model may not describe itself: {HOW_TO_DESCRIBE}") from error
        received = reply.response.body
        values = sum(map(received.count, (b",", b"[", b"{")))
        if values > MAX_DESCRIPTION_VALUES:  # parsing millions of them would hold up every other thread
            expected = f"expected a description of at most {MAX_DESCRIPTION_VALUES:,} values"
            raise InvalidResponse(f"{url}: {expected}, got {values:,}")
        try:
            metadata = ModelMetadata.from_dict(orjson.loads(received))
        except orjson.JSONDecodeError:
            raise InvalidResponse(
                f"{url}: expected a JSON object in which the model describes itself, got {describe_body(received)}: "
                f"{HOW_TO_DESCRIBE}"
            ) from None
        except ValueError as error:
            raise InvalidResponse(f"{url}: {one_line(str(error), 600)}") from None
        if version is not None and metadata.version != version:
            raise InvalidResponse(f"{url}: expected version {version}, got {metadata.version}")
        return metadata, reply.echoed

    def _exchange(
        self, url: str, sent: bytes | None, extra: list[str], timeout_s: float, limit: int, keep_alive: bool
    ) -> "_Reply":
        """Return the response to a request; raise the error that a status other than 200 means."""
        request_id = f"{self._id_prefix}-{next(self._numbers)}"
        extra.append(f"{headers.CLIENT_REQUEST_ID}: {request_id}")
        response = self._connection.send(Request(url, sent, extra, timeout_s, limit, keep_alive))
        echo = response.headers.get(headers.CLIENT_REQUEST_ID)
        if echo is not None and echo != request_id:
            error = InvalidResponse(f"expected the answer to request {request_id}, got one to {one_line(echo)}")
            raise self._unusable(url, error)
        reply = _Reply(response, echo is not None, keep_alive)
        if response.status != 200:
            raise self._refusal(url, reply, is_description=sent is None)
        return reply

    def _refusal(self, url: str, reply: "_Reply", is_description: bool) -> RequestError:
        """Return the error that a status means; one that blames a request, which was checked, is the server's."""
        response = reply.response
        refusal = error_from_response(response.status, response.body)
        message = f"{type(refusal).__name__}: {refusal}"
        if isinstance(refusal, CLIENT_CHECKED_ERRORS):
            if is_description:
                return InvalidResponse(f"{url}: {message}; the model may not describe itself: {HOW_TO_DESCRIBE}")
            trained_on = response.headers.get(headers.FEATURE_SCHEMA, "")
            if trained_on and trained_on != self.metadata.feature_schema_sha256:
                return SchemaMismatch(f"{url}: {message}; the model was trained on other features ({trained_on:.12})")
            return InvalidResponse(f"{url}: expected an answer to a valid request, got {message}")
        if isinstance(refusal, (BadText, BadWindow, NotExplained)) and reply.keep_alive and not reply.echoed:
            return self._unusable(url, InvalidResponse(f"expected an answer with the request's id, got {message}"))
        return type(refusal)(f"{url}: {refusal}")

    def _sender(self, reply: "_Reply") -> ServedVersion:
        """Return the version that sent a response, whose description is read first where it is new."""
        sender = read_sender(reply.response.headers)
        served = self._known.get(sender)
        if served is None:
            served = self._meet(sender)
        self._last = served
        if not reply.echoed and (served.echoes or reply.keep_alive):
            raise InvalidResponse(f"expected an answer with header {headers.CLIENT_REQUEST_ID}, got none")
        return served

    def _meet(self, sender: Sender) -> ServedVersion:
        """Read the description of a version that has not answered before.

        Raises
        ------
        SchemaMismatch, ModelChanged
            It was trained on other features, names its outputs differently, or is a known version's other archive.
        RequestError
            It does not describe itself, or differs from the headers of its response.
        """
        version, digest, schema_sha256 = sender
        if self._schema_sha256 is not None and schema_sha256 != self._schema_sha256:
            raise SchemaMismatch(
                f"expected an answer by a model trained on features {self._schema_sha256:.12}, "
                f"got one by {one_line(version)} trained on {one_line(schema_sha256):.12}"
            )
        if not is_version(version) or not is_digest(digest):
            got = f"{one_line(version)!r} and {one_line(digest)!r}"
            raise InvalidResponse(f"expected a version and a digest, got {got}")
        if self._version is not None and version != self._version:
            raise InvalidResponse(f"expected an answer by version {self._version}, got one by {version}")
        if len(self._known) == MAX_VERSIONS:
            raise InvalidResponse(f"expected answers by at most {MAX_VERSIONS} versions, got one by {version} more")
        for known in tuple(self._known.values()):
            if known.metadata.version == version:
                known.check_archive(digest)
        metadata, echoes = self._describe(version)
        served = ServedVersion(metadata, echoes)
        served.check_archive(digest)
        self._first.check_successor(metadata)
        if metadata.feature_schema_sha256 != schema_sha256:
            raise InvalidResponse(f"expected features {schema_sha256:.12} of {version}, as it answered, got others")
        self._known[sender] = served
        return served

    def _unusable(self, url: str, error: RequestError) -> RequestError:
        """Close the connection, over which more of this response may come, and return the error with its URL."""
        self._connection.drop()
        return error if url in str(error) else type(error)(f"{url}: {error}")


class _Reply(NamedTuple):
    """A response, and the connection of its request."""

    response: Response
    echoed: bool
    """Whether it repeats the request's id."""
    keep_alive: bool
    """Whether the connection may have carried earlier requests."""


def _route(model: str, version: str | None) -> str:
    return model if version is None else f"{model}/{version}"
