"""Asking a model over HTTP, and the check of whatever answers."""

import itertools
import secrets
import time
from typing import NamedTuple

import orjson

from nautilus_torchserve.serving.client.client import ExplanationResponse, InferenceClient, PredictionResponse
from nautilus_torchserve.serving.client.explanation_checks import read_explanations
from nautilus_torchserve.serving.client.http_connection import HttpConnection, Response
from nautilus_torchserve.serving.client.inputs import Inputs, encode_inputs
from nautilus_torchserve.serving.client.served_version import (
    Sender,
    ServedVersion,
    check_content,
    check_length,
    refuse_other_archive,
    sender,
    shown,
)
from nautilus_torchserve.serving.model_metadata import HOW_TO_DESCRIBE, ModelMetadata, is_digest
from nautilus_torchserve.serving.tokens import Token
from nautilus_torchserve.wire import body, headers
from nautilus_torchserve.wire.errors import (
    PROVEN_RIGHT,
    BadText,
    BadWindow,
    InvalidResponse,
    NotExplained,
    RequestError,
    SchemaMismatch,
    ServerFault,
    Unavailable,
    from_answer,
    one_line,
)
from nautilus_torchserve.wire.names import is_version
from nautilus_torchserve.wire.response import decode_binary

EXPLAIN_TIMEOUT_S = 60.0
"""Least longest wait for explanations: they take as long as many predictions."""
DESCRIPTION_BYTES = 4 * 1024**2
"""Longest description that a model gives of itself."""
DESCRIPTION_VALUES = 100_000
"""Most values in it, at any depth."""
EXPLANATION_BYTES = 16 * 1024**2
"""Longest body of explanations."""
MOST_VERSIONS = 64
"""Versions that may answer one client."""


class HttpClient(InferenceClient):
    """Keep-alive HTTP, see `HttpConnection`. Safe to use from several threads: each has its own connection.

    Nothing of a response is used before it is checked: that it answers this request (an id goes with each, and comes
    back), its form, who sent it, and the values (`wire.output_constraints`). What cannot be read as
    the answer of the
    model is an `InvalidResponse`, and the connection that it came over is closed. A version that has not answered
    before is asked to describe itself first; see `serving.client.served_version`.

    Archives built before ids were sent back are asked over a new connection each time, so that no late answer to
    another request can be there.
    """

    def __init__(
        self,
        url: str,
        model: str,
        version: str | None,
        token: Token,
        timeout_s: float,
        schema_sha256: str | None = None,
    ) -> None:
        self._models = f"{url.rstrip('/')}/predictions/{model}"
        self._explained = f"{url.rstrip('/')}/explanations/{model}"
        self._model = model
        self._version = version
        self._timeout_s = timeout_s
        self._schema_sha256 = schema_sha256
        self._connection = HttpConnection(token)
        self._id_prefix, self._numbers = secrets.token_hex(8), itertools.count()
        try:
            self.metadata, echoes = self._describe(version)
        except RequestError:
            self.close()
            raise
        self._first = ServedVersion.from_metadata(self.metadata, echoes)
        self._known: dict[Sender, ServedVersion] = {
            (self._first.version, self._first.digest, self._first.schema_sha256): self._first
        }
        self._last = self._first
        """The version that answered last."""

    def predict(self, inputs: Inputs, deadline_ns: int | None = None) -> PredictionResponse:
        began = time.perf_counter_ns()
        first = self._first
        sent, content_type = encode_inputs(inputs, first.inputs, first.schema.row_shape)
        extra = [f"Content-Type: {content_type}", f"Accept: {body.BINARY}"]
        if deadline_ns is not None:
            extra.append(f"{headers.DEADLINE_NS}: {deadline_ns}")
        url = _route(self._models, self._version)
        limit = len(inputs) * len(first.outputs) * body.FLOAT32.itemsize
        reply = self._exchange(url, sent, extra, self._timeout_s, limit, self._last.echoes)
        response = reply.response
        try:
            check_content(response.headers, response.body, body.BINARY)
            served = self._sender(reply)
            check_length(response.body, len(inputs), len(served.outputs))
            table = decode_binary(response.body, len(served.outputs))
            served.constraints.check_table(table, served.outputs)
        except RequestError as error:
            raise self._unusable(url, error) from None
        outputs = {name: table[:, column] for column, name in enumerate(served.outputs)}
        return PredictionResponse(outputs, self._model, served.version, served.digest, time.perf_counter_ns() - began)

    def explain(self, inputs: Inputs, output: str | None = None) -> ExplanationResponse:
        first = self._first
        sent, content_type = encode_inputs(inputs, first.inputs, first.schema.row_shape)
        extra = [f"Content-Type: {content_type}", f"Accept: {body.JSON}"]
        if output is not None:
            if not (output.isascii() and output.isprintable()):
                names = ", ".join(self.metadata.explained_outputs)
                raise NotExplained(f"expected one of {names:.80} to explain, got {output!r:.40}")
            extra.append(f"{headers.EXPLAIN_OUTPUT}: {output}")
        timeout_s = max(self._timeout_s, EXPLAIN_TIMEOUT_S)
        url = _route(self._explained, self._version)
        reply = self._exchange(url, sent, extra, timeout_s, EXPLANATION_BYTES, self._last.echoes)
        try:
            check_content(reply.response.headers, reply.response.body, body.JSON)
            served = self._sender(reply)
            found = read_explanations(reply.response.body, inputs, output, served.schema)
        except RequestError as error:
            raise self._unusable(url, error) from None
        return ExplanationResponse(found, served.version, served.digest)

    def close(self) -> None:
        self._connection.close()

    def _describe(self, version: str | None) -> tuple[ModelMetadata, bool]:
        """A version's checked description, and whether it sends a request's id back."""
        url = _route(self._models, version)
        try:
            # over a connection of its own: whether ids are sent back is not known yet
            reply = self._exchange(url, None, ["describe: True"], self._timeout_s, DESCRIPTION_BYTES, keep_alive=False)
        except (ServerFault, Unavailable) as error:
            if isinstance(error, Unavailable) and "Prediction failed" not in str(error):
                raise
            # a handler that tries to predict from a request without a body
            raise InvalidResponse(f"{error}; the model may not describe itself: {HOW_TO_DESCRIBE}") from error
        received = reply.response.body
        values = sum(map(received.count, (b",", b"[", b"{")))
        if values > DESCRIPTION_VALUES:  # parsing millions of them would hold up every other thread
            expected = f"expected a description of at most {DESCRIPTION_VALUES:,} values"
            raise InvalidResponse(f"{url}: {expected}, got {values:,}")
        try:
            metadata = ModelMetadata.from_dict(orjson.loads(received))
        except orjson.JSONDecodeError:
            raise InvalidResponse(
                f"{url}: expected a JSON object in which the model describes itself, got {shown(received)}: "
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
        """A response with status 200; other statuses are raised as errors."""
        request_id = f"{self._id_prefix}-{next(self._numbers)}"
        extra.append(f"{headers.CLIENT_REQUEST_ID}: {request_id}")
        response = self._connection.send(url, sent, extra, timeout_s, limit, keep_alive)
        echo = response.headers.get(headers.CLIENT_REQUEST_ID)
        if echo is not None and echo != request_id:
            error = InvalidResponse(f"expected the answer to request {request_id}, got one to {one_line(echo)}")
            raise self._unusable(url, error)
        reply = _Reply(response, echo is not None, keep_alive)
        if response.status != 200:
            raise self._refusal(url, reply, is_description=sent is None)
        return reply

    def _refusal(self, url: str, reply: "_Reply", is_description: bool) -> RequestError:
        """The error that a status other than 200 means; one that blames a request that was checked is the server's."""
        response = reply.response
        refused = from_answer(response.status, response.body)
        said = f"{type(refused).__name__}: {refused}"
        if isinstance(refused, PROVEN_RIGHT):
            if is_description:
                return InvalidResponse(f"{url}: {said}; the model may not describe itself: {HOW_TO_DESCRIBE}")
            trained_on = response.headers.get(headers.FEATURE_SCHEMA, "")
            if trained_on and trained_on != self._first.schema_sha256:
                return SchemaMismatch(f"{url}: {said}; the model was trained on other features ({trained_on:.12})")
            return InvalidResponse(f"{url}: expected an answer to a valid request, got {said}")
        if isinstance(refused, (BadText, BadWindow, NotExplained)) and reply.keep_alive and not reply.echoed:
            return self._unusable(url, InvalidResponse(f"expected an answer with the request's id, got {said}"))
        return type(refused)(f"{url}: {refused}")

    def _sender(self, reply: "_Reply") -> ServedVersion:
        """The version that sent an answer, once it has been checked."""
        key = sender(reply.response.headers)
        served = self._known.get(key)
        if served is None:
            served = self._meet(key)
        self._last = served
        if not reply.echoed and (served.echoes or reply.keep_alive):
            raise InvalidResponse(f"expected an answer with header {headers.CLIENT_REQUEST_ID}, got none")
        return served

    def _meet(self, key: Sender) -> ServedVersion:
        """Ask a version that has not answered before to describe itself.

        Raises
        ------
        SchemaMismatch, ModelChanged
            It was trained on other features, names its outputs differently, or is a known version's other archive.
        RequestError
            It does not describe itself, or not as its answer said.
        """
        version, digest, schema_sha256 = key
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
        if len(self._known) == MOST_VERSIONS:
            raise InvalidResponse(f"expected answers by at most {MOST_VERSIONS} versions, got one by {version} more")
        for known in tuple(self._known.values()):
            if known.version == version:
                refuse_other_archive(known, digest)
        served = ServedVersion.from_metadata(*self._describe(version))
        refuse_other_archive(served, digest)
        self._first.check_successor(served)
        if served.schema_sha256 != schema_sha256:
            raise InvalidResponse(f"expected features {schema_sha256:.12} of {version}, as it answered, got others")
        self._known[key] = served
        return served

    def _unusable(self, url: str, error: RequestError) -> RequestError:
        """The error with its URL; the connection is closed, since whatever comes over it next may belong to this."""
        self._connection.drop()
        return error if url in str(error) else type(error)(f"{url}: {error}")


class _Reply(NamedTuple):
    """A response with what its request was."""

    response: Response
    echoed: bool
    """Whether it has the request's id."""
    keep_alive: bool
    """Whether its connection may have carried earlier requests."""


def _route(models: str, version: str | None) -> str:
    return models if version is None else f"{models}/{version}"
