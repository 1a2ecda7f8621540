"""TorchServe's side of every model: batches of requests, each with its own answer or its own error."""

import gc
import json
import logging
import time
from collections.abc import Sequence
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
from nautilus_torchserve.wire.body import BINARY, JSON, excerpt
from nautilus_torchserve.wire.errors import (
    BodyTooLarge,
    MalformedBody,
    NotAcceptable,
    NotExplained,
    ResponseTooLarge,
)
from nautilus_torchserve.wire.response import DecodedRequest, encode_binary, encode_json
from nautilus_torchserve.worker import limits, worker_socket
from nautilus_torchserve.worker.failures import as_request_error, log_traceback
from nautilus_torchserve.worker.request_headers import (
    BODY,
    accepts_binary,
    check_deadline,
    client_request_id,
    read_headers,
)

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

    model_class: type[InferenceModel]
    """The model that answers."""

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
        self._max_rows = {
            binary: self.model.answer_size.max_rows(self.limits.answer_bytes, binary) for binary in (True, False)
        }
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
