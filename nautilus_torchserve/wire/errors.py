"""Every way in which a request can fail, each with its HTTP code: the only table of them.

The server answers ``{"code", "error", "detail"}``, where ``error`` is the name of the class;
the client raises the same class again.
"""

import http.client
import inspect
import sys
from http import HTTPStatus
from typing import ClassVar

import orjson

from nautilus_torchserve.user_error import UserError

MAX_MESSAGE = 400
"""Longest message of an error that is kept whole, characters."""
_BEGINNING, _END = 140, 60
"""Characters that are kept of a longer one: at most 200 of whatever it quotes."""


class RequestError(UserError):
    """A request that failed; the other requests of its batch are not affected.

    Parameters
    ----------
    message : str
        Of any length and content: it is cut to a length that may be sent and logged, and lone surrogates in it are
        escaped.
    """

    code: ClassVar[int] = 500

    def __init_subclass__(cls, code: int | None = None) -> None:
        cls.code = code or cls.code

    def __init__(self, message: str = "") -> None:
        text = message if message.isascii() else message.encode(errors="backslashreplace").decode()
        super().__init__(text if len(text) <= MAX_MESSAGE else f"{text[:_BEGINNING]} ... {text[-_END:]}")

    @property
    def reason(self) -> str:
        """The HTTP reason phrase of the code."""
        return HTTPStatus(self.code).phrase

    def body(self) -> bytes:
        """Return the body of the server's answer."""
        return orjson.dumps({"code": self.code, "error": type(self).__name__, "detail": str(self)})


class EmptyBody(RequestError, code=400):
    """The request carries no rows."""


class MalformedBody(RequestError, code=400):
    """The body is not of the form that its content type names."""


class BadShape(RequestError, code=400):
    """The rows have another shape than the model's schema."""


class BadType(RequestError, code=400):
    """The values are not numbers, or not of the type the schema asks for."""


class NotFinite(RequestError, code=400):
    """A value is NaN or infinite, or overflows float32."""


class BadWindow(RequestError, code=422):
    """The rows are finite and of the right shape, but no bars of one instrument in order of time."""


class BadText(RequestError, code=422):
    """The model cannot read a text: it is empty, broken, or in another script."""


class NotExplained(RequestError, code=422):
    """The model cannot explain the output, or not for so many inputs in the time it has."""


class BadHeader(RequestError, code=400):
    """A header's value cannot be read."""


class Unauthorized(RequestError, code=400):
    """The token is missing, wrong or expired (TorchServe answers 400 for it)."""


class UnknownModel(RequestError, code=404):
    """No such model, or no such version of it."""


class NotAcceptable(RequestError, code=406):
    """The request accepts no form that answers have."""


class SchemaMismatch(RequestError, code=409):
    """The model was trained on other features than those the client computes."""


class ModelChanged(SchemaMismatch):
    """Another archive answers under the version that was checked when the client connected."""


class BodyTooLarge(RequestError, code=413):
    """The body exceeds the server's ``max_request_size``, or the limits of one request to a worker."""


class ResponseTooLarge(RequestError, code=413):
    """The answer would exceed the limit of one request; fewer rows, or the binary form, fit."""


class UnsupportedContentType(RequestError, code=415):
    """No request may have the body's content type."""


class ServerFault(RequestError, code=500):
    """The server failed on a request that may be valid."""


class InvalidResponse(RequestError, code=502):
    """The response is not one of a model's handler: a proxy's page, half an answer, another service."""


class IncompleteMetadata(InvalidResponse):
    """A model's metadata lack what the caller needs."""


class NotJson(InvalidResponse):
    """A model of another make answered what is no JSON."""


class OutputMissing(InvalidResponse):
    """The answer of a model of another make has no value where its spec maps an output to."""


class OutputNotNumeric(InvalidResponse):
    """An answer of a model of another make has no number where its spec maps an output to."""


class PredictionFailed(ServerFault):
    """The handler of a model of another make failed on a row."""


class OutputNotFinite(RequestError, code=500):
    """The model computed NaN or infinity, which nobody may trade on."""


class OutputOutOfRange(RequestError, code=500):
    """An output is outside of its declared range, or a group of outputs does not sum to 1."""


class Unavailable(RequestError, code=503):
    """No worker could accept the request: none is up, or the queue is full."""


class DeadlinePassed(RequestError, code=504):
    """The deadline passed before the request was computed, or before its answer arrived."""


BY_NAME: dict[str, type[RequestError]] = {
    name: kind
    for name, kind in inspect.getmembers(sys.modules[__name__], inspect.isclass)
    if issubclass(kind, RequestError)
}

CLIENT_CHECKED_ERRORS = (
    BadHeader,
    BadShape,
    BadType,
    EmptyBody,
    MalformedBody,
    NotAcceptable,
    NotFinite,
    UnsupportedContentType,
)
"""Errors that a client rules out before it sends: a server that answers with one gives an `InvalidResponse`."""
CONTENT_ERRORS = (BadText, BadWindow, BodyTooLarge, NotExplained, ResponseTooLarge)
"""Errors that only the server can find in a request that is well formed."""
MAX_QUOTE = 200
"""Most characters of a server's text that a message quotes."""
PER_ROW_ERRORS = (
    *(BadWindow, NotFinite, OutputNotFinite, OutputOutOfRange),
    *(NotJson, OutputMissing, OutputNotNumeric, PredictionFailed),
)
"""Errors that one row of a request can cause for all of them."""


def is_refusal(error: RequestError, of_one_row: tuple[type[RequestError], ...] = PER_ROW_ERRORS) -> bool:
    """Return whether a server refused one row for its content: the server works, and other rows may be answered.

    Parameters
    ----------
    of_one_row : tuple of RequestError classes
        Errors that concern one row. Those with a status of 500 and above are the server's fault.
    """
    return isinstance(error, of_one_row) and error.code < 500


_OF_TORCHSERVE: dict[int, type[RequestError]] = {
    404: UnknownModel,
    413: BodyTooLarge,
    503: Unavailable,
    507: ServerFault,
}
"""Status of TorchServe's own answers, whose bodies are `{"code", "type", "message"}` or empty -> error."""


def error_from_response(code: int, body: bytes) -> RequestError:
    """Return the error that a response with this status means.

    Parameters
    ----------
    code : int
        HTTP status, not 200.
    body : bytes
        As received: ours, TorchServe's, or empty (TorchServe's 413).
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    name, detail, message = answer.get("error"), answer.get("detail", ""), answer.get("message")
    if isinstance(name, str) and name in BY_NAME:
        kind = BY_NAME[name]
        if kind.code == code and isinstance(detail, str):
            return kind(one_line(detail))
        return InvalidResponse(f"expected status {kind.code} of {name}, got {code}: {one_line(str(detail))}")
    kind = _OF_TORCHSERVE.get(code, ServerFault if code >= 400 else InvalidResponse)
    if kind is UnknownModel and not isinstance(message, str):  # a proxy's page, or another service
        kind = InvalidResponse
    if isinstance(message, str) and "Token" in message and 400 <= code < 500:
        kind = Unauthorized
    text = one_line(message if isinstance(message, str) else body[: 4 * MAX_QUOTE].decode(errors="replace"))
    return kind(f"{code}: {text or http.client.responses.get(code, 'without a body')}")


def one_line(text: str, limit: int = MAX_QUOTE) -> str:
    """Return a text from elsewhere in one printable line of at most so many characters, for a message."""
    words = " ".join(text[: 4 * limit].split())
    return "".join(character if character.isprintable() else "?" for character in words)[:limit]
