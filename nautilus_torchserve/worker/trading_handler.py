"""TorchServe's side of every model: batches of requests, each with its own answer or its own error."""

import gc
import json
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from nautilus_torchserve.inference.explain import integrate as explain
from nautilus_torchserve.inference.model import InferenceModel
from nautilus_torchserve.wire import headers
from nautilus_torchserve.wire.body import BINARY, JSON, DecodedRequest, encode_binary, encode_json, excerpt
from nautilus_torchserve.wire.errors import (
    BadHeader,
    BodyTooLarge,
    DeadlinePassed,
    MalformedBody,
    NotAcceptable,
    NotExplained,
    RequestError,
    ResponseTooLarge,
    ServerFault,
)
from nautilus_torchserve.worker import limits, worker_socket

_LONGEST_LINE = 300
_FIRST_LINES, _LAST_LINES = 30, 90
_log = logging.getLogger(__name__)
BODY = "body"
"""The part of a request that holds its inputs; a request that is no form has only this one."""
_READ = frozenset((headers.DEADLINE_NS, headers.CLIENT_REQUEST_ID, headers.EXPLAIN_OUTPUT, "accept", "content-type"))
"""Headers that have a meaning here."""
_NS_DIGITS = 19
"""Digits of a nanosecond in int64."""
_MAX_ID_LENGTH = 200


if TYPE_CHECKING:
    from ts.context import Context


@dataclass(frozen=True)
class ParsedRequest:
    """One request of a batch, checked."""

    decoded: DecodedRequest
    """What the model has decoded of its body."""
    binary: bool
    """Whether its answer is to be float32 instead of JSON."""


class TradingHandler:
    """TorchServe's entry point to one `InferenceModel`.

    TorchServe takes the only class that a handler module defines, and calls `initialize` once and `handle` for each
    batch. Handler modules import without TorchServe: ``mar:`` clients take `model_class` from them.
    """

    model_class: Callable[..., InferenceModel]
    """The class of the model that answers, or a function with its parameters that returns a model."""

    def initialize(self, context: "Context") -> None:
        """Load the model; only then is the worker ready.

        Raises
        ------
        BadArchive
            Something is missing, or the golden outputs come out different.
        UnsupportedDevice
            torch has no kernels for the assigned GPU.
        """
        self.context = context
        properties = context.system_properties
        self.limits = limits.read_limits(properties.get("batch_size"))
        headroom = limits.read_memory_headroom(context.model_yaml_config)
        version = str(context.manifest["model"]["modelVersion"])
        self.model = self.model_class(
            Path(properties["model_dir"]), version, properties.get("gpu_id"), self.limits.characters
        )
        size = limits.AnswerSize.of(self.model.golden_columns, len(self.model.output_names))
        self._max_rows = {binary: size.max_rows(self.limits.answer_bytes, binary) for binary in (True, False)}
        self._headers = {
            headers.MODEL_VERSION: version,
            headers.ARCHIVE_DIGEST: self.model.digest,
            headers.FEATURE_SCHEMA: self.model.schema.sha256,
        }
        # Each line of a worker's log goes through a pipe and a regular expression in Java, and a
        # client's malformed JSON is a warning of 20 lines there.
        logging.getLogger().setLevel(logging.ERROR)
        if worker_socket.install():
            gc.freeze()  # or a body of many lists has the collector look at all of torch again, for seconds
            if headroom and self.model.device.type == "cpu":  # CUDA maps memory as data
                limits.limit_memory(headroom)

    def describe_handle(self) -> dict[str, Any]:
        """Return the model's metadata, under the name that TorchServe's own handlers have for it."""
        return self.model.metadata()

    def handle(self, data: list[dict[str, Any]], context: "Context") -> list[bytes | None]:
        """Answer a batch: one answer a request, and whatever a request raises in its own place."""
        self.context = context
        answers: list[bytes | None] = [None] * len(data)
        requests: dict[int, ParsedRequest] = {}
        explained: dict[int, tuple[dict[str, Any], dict[str, str]]] = {}
        for index, item in enumerate(data):
            try:
                sent = read_headers(context.get_all_request_header(index))
                self._return_client_id(index, sent)
                if sent.get("describe") == "True":  # from TorchServe's management port, and from our client
                    answers[index] = self._checked(index, JSON, json.dumps(self.describe_handle()).encode())
                elif sent.get(headers.EXPLAIN) == "True":
                    explained[index] = item, sent
                else:
                    request = self._parse(item, sent)
                    self._check_answer_size(request)
                    requests[index] = request
            except Exception as error:
                answers[index] = self._fail(index, error)
        if explained:
            self._explain_all(explained, answers)
        if requests:
            self._answer(requests, answers)
        return answers

    def _return_client_id(self, index: int, sent: dict[str, str]) -> None:
        client_id = client_request_id(sent)
        if client_id is not None:
            self.context.set_response_header(index, headers.CLIENT_REQUEST_ID, client_id)

    def _parse(self, item: dict[str, Any], sent: dict[str, str]) -> ParsedRequest:
        """Check one request by its parts and its headers."""
        check_deadline(sent)
        binary = accepts_binary(sent)
        content = item.get(BODY)
        if len(item) > 1 and content is not None:
            _check_only_part(item)
        if self.limits.body_bytes is not None and isinstance(content, bytes | bytearray | str):
            self._check_body_size(len(content), self.limits.body_bytes)
        return ParsedRequest(self.model.decode(content, sent.get("content-type")), binary)

    def _explain_all(
        self, explained: dict[int, tuple[dict[str, Any], dict[str, str]]], answers: list[bytes | None]
    ) -> None:
        """Answer a batch's requests for explanations, in equal shares of the time that a batch has for them."""
        alone = self.context.model_name.endswith(explain.ALONE)
        until_s = time.perf_counter() + (self.model.explain_alone_s if alone else self.model.explain_s)
        for waiting, (index, (item, sent)) in zip(range(len(explained), 0, -1), explained.items(), strict=True):
            try:
                answers[index] = self._explain(index, item, sent, explain.fair_share(until_s, waiting))
            except Exception as error:  # the boundary of a request
                answers[index] = self._fail(index, error)

    def _explain(self, index: int, item: dict[str, Any], sent: dict[str, str], until_s: float) -> bytes:
        """Answer one request for explanations."""
        content, max_bytes = item.get(BODY), self.model.max_explained_bytes
        if isinstance(content, bytes | bytearray) and len(content) > max_bytes:
            raise NotExplained(
                f"expected a body of at most {max_bytes:,} bytes to explain, got {len(content):,}: send at most "
                f"{self.model.max_explained} inputs in a request for explanations"
            )
        request, output = self._parse(item, sent), sent.get(headers.EXPLAIN_OUTPUT)
        if request.binary and JSON not in sent["accept"]:
            raise NotAcceptable(f"expected accept {JSON} for explanations, got {excerpt(sent['accept'])}")
        answer = {
            "model": self.context.model_name,
            "version": self.model.version,
            "output": output,
            "explanations": self.model.explain(request.decoded, output, until_s),
        }
        return self._checked(index, JSON, orjson.dumps(answer))

    def _compute(self, requests: Sequence[ParsedRequest]) -> NDArray[np.float32]:
        """Compute all rows, refused where one is missing: the next request would get its answer."""
        table = self.model.compute([request.decoded for request in requests])
        rows = sum(len(request.decoded) for request in requests)
        if len(table) != rows:
            raise ValueError(f"expected {rows} rows of the model's compute, got {len(table)}")
        return table

    def _answer(self, requests: dict[int, ParsedRequest], answers: list[bytes | None]) -> None:
        """Compute all rows together, then give each request its part.

        Where that fails each request is computed alone, so that only the one that cannot be computed gets the error.
        """
        failure: Exception | None = None
        try:
            table = self._compute(list(requests.values()))
        except Exception as error:
            failure = error
        if failure is not None:  # outside of the except clause, or each failure of one would be chained to it
            self._answer_alone(requests, answers, failure)
            return
        finite = bool(np.isfinite(table).all())  # of all at once: a look at each part costs more than the network
        start = 0
        for index, request in requests.items():
            part = table[start : start + len(request.decoded)]
            start += len(part)
            try:
                if not finite:
                    self.model.check_finite(part)
                answers[index] = self._encode(index, part, request)
            except Exception as error:
                answers[index] = self._fail(index, error)

    def _answer_alone(
        self, requests: dict[int, ParsedRequest], answers: list[bytes | None], failure: Exception
    ) -> None:
        """Answer one by one the requests that could not be computed together."""
        if len(requests) == 1:
            (index,) = requests
            answers[index] = self._fail(index, failure)
            return
        for index, request in requests.items():
            self._answer({index: request}, answers)
        if all(self.context.get_response_status(index)[0] == HTTPStatus.OK for index in requests):
            log_traceback(failure, f"a batch of {len(requests)} requests, each of which could be answered,")

    def _encode(self, index: int, table: NDArray[np.float32], request: ParsedRequest) -> bytes:
        if request.binary:
            return self._checked(index, BINARY, encode_binary(table))
        columns = self.model.columns(table)
        answer = encode_json(self.context.model_name, self.model.version, columns, request.decoded)
        return self._checked(index, JSON, answer)

    def _checked(self, index: int, content_type: str, answer: bytes) -> bytes:
        """Label an answer, refused where TorchServe would end the worker for its length."""
        if len(answer) > self.limits.answer_bytes:
            raise ResponseTooLarge(
                f"expected an answer of at most {self.limits.answer_bytes:,} bytes, got {len(answer):,}: "
                "send less in a request"
            )
        self._label(index, content_type)
        return answer

    def _fail(self, index: int, error: Exception) -> bytes:
        refusal = as_request_error(error, self.context.get_request_id(index))
        self.context.set_response_status(refusal.code, refusal.reason, index)
        self._label(index, JSON)
        return refusal.body()

    def _label(self, index: int, content_type: str) -> None:
        self.context.set_response_content_type(index, content_type)
        for name, value in self._headers.items():
            self.context.set_response_header(index, name, value)

    def _check_body_size(self, size: int, limit: int) -> None:
        if size > limit:
            raise BodyTooLarge(
                f"expected a body of at most {limit:,} bytes, as {self.limits.batch_size} requests may share a batch "
                f"here, got {size:,}: send less in a request, or to a registration with a smaller batch"
            )

    def _check_answer_size(self, request: ParsedRequest) -> None:
        """Refuse a request for more rows than its answer can hold, before they are computed."""
        rows, limit = len(request.decoded), self._max_rows[request.binary]
        if rows > limit:
            remedy = "" if request.binary else f", or accept {BINARY}, which holds {self._max_rows[True]:,}"
            raise ResponseTooLarge(
                f"expected a request for at most {limit:,} rows, as {self.limits.answer_bytes:,} bytes of answer hold "
                f"in {BINARY if request.binary else JSON}, got {rows:,}: send fewer rows in a request{remedy}"
            )


def _check_only_part(item: dict[str, Any]) -> None:
    """Refuse parts of a form beside the body, which would be left unread: a client meant something by them."""
    others = sorted(set(item) - {BODY, "model_name"})  # the latter names the model on TorchServe's invocations route
    if others:
        raise MalformedBody(f"expected one part {BODY!r} in a form, got also {excerpt(others)}")


def read_headers(properties: Mapping[str, Any]) -> dict[str, str]:
    """Return a request's headers by their names in lower case.

    Parameters
    ----------
    properties : mapping
        Of TorchServe's `RequestProcessor`: headers (name -> text), and among them the parts of the body
        (name -> ``{"content-type": text}``), which a client may name as it likes. A header named like a part wins.

    Raises
    ------
    BadHeader
        A header that is read here came twice, in different case and with different values.
    """
    sent: dict[str, str] = {}
    for name, value in properties.items():
        if isinstance(value, str):
            lower = name.lower()
            if sent.setdefault(lower, value) != value and lower in _READ:
                raise BadHeader(f"expected {lower} once, got it twice: {excerpt(sent[lower])!r}, {excerpt(value)!r}")
    if isinstance(explain := properties.get(headers.EXPLAIN), str):
        sent[headers.EXPLAIN] = explain  # set by TorchServe on its explanations route, in this case
    part = properties.get(BODY)
    if isinstance(part, dict) and part.get("content-type"):
        sent["content-type"] = part["content-type"]
    return sent


def client_request_id(sent: Mapping[str, str]) -> str | None:
    """Return the id that the answer returns to its client; raise `BadHeader` where a header cannot hold it."""
    client_id = sent.get(headers.CLIENT_REQUEST_ID)
    if client_id is not None and not (
        len(client_id) <= _MAX_ID_LENGTH and client_id.isascii() and client_id.isprintable()
    ):
        raise BadHeader(
            f"{headers.CLIENT_REQUEST_ID}: expected at most {_MAX_ID_LENGTH} printable ASCII characters, "
            f"got {len(client_id)}: {excerpt(ascii(client_id))}"
        )
    return client_id


def check_deadline(sent: Mapping[str, str]) -> None:
    """Refuse a request whose deadline has passed.

    Raises
    ------
    BadHeader, DeadlinePassed
    """
    deadline = sent.get(headers.DEADLINE_NS)
    if deadline is None:
        return
    if not (deadline.isdecimal() and deadline.isascii() and len(deadline) <= _NS_DIGITS):
        raise BadHeader(f"expected {headers.DEADLINE_NS} in Unix nanoseconds, got {excerpt(deadline)!r}")
    late_ns = time.time_ns() - int(deadline)
    if late_ns > 0:
        raise DeadlinePassed(f"expected an answer before {deadline}, which was {late_ns} ns ago")


def accepts_binary(sent: Mapping[str, str]) -> bool:
    """Return whether a request accepts float32 instead of JSON; raise `NotAcceptable` where it accepts neither."""
    accept = sent.get("accept", "*/*")
    binary = BINARY in accept
    if not (binary or JSON in accept or "*/*" in accept or "application/*" in accept):
        raise NotAcceptable(f"expected accept {JSON} or {BINARY}, got {excerpt(accept)}")
    return binary


def as_request_error(error: Exception, request_id: str | None) -> RequestError:
    """Return the error that a request is answered; one that is not the request's own fault is logged.

    Parameters
    ----------
    request_id : str or None
        TorchServe's, with which its traceback is logged; the answer quotes nothing else of it.
    """
    if isinstance(error, RequestError):
        return error
    log_traceback(error, f"request {request_id}")
    if is_out_of_memory(error):
        return BodyTooLarge(f"request {request_id} needs more memory than its worker may take: send less in a request")
    return ServerFault(f"request {request_id} failed in the worker; its model log has the traceback under this id")


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed: torch raises RuntimeErrors for it."""
    if isinstance(error, MemoryError):
        return True
    phrases = ("can't allocate memory", "out of memory", "std::bad_alloc")
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in phrases)


def log_traceback(error: Exception, what: str) -> None:
    """Log a traceback so that none of its lines is taken for another, whatever a request put into the message.

    TorchServe reads the worker's log line by line and interprets some lines itself: those of a traceback are indented,
    of bounded length, and ASCII.
    """
    lines = "".join(traceback.format_exception(error)).splitlines()
    if len(lines) > _FIRST_LINES + _LAST_LINES:
        lines[_FIRST_LINES:-_LAST_LINES] = [f"... {len(lines) - _FIRST_LINES - _LAST_LINES} lines ..."]
    shown = (line[:_LONGEST_LINE].encode("ascii", "backslashreplace").decode() for line in lines)
    _log.error("%s failed\n%s", what, "\n".join(f"    {line}" for line in shown))
