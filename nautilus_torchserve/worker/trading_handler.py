"""What every model's handler shares: batches of requests, each with its own answer or its own error."""

import gc
import json
import logging
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from ts.context import Context
from ts.torch_handler.base_handler import BaseHandler

from nautilus_torchserve.inference import model_files
from nautilus_torchserve.inference.device import choose_device
from nautilus_torchserve.inference.explain import integrate as explain
from nautilus_torchserve.inference.model_files import BadArchive
from nautilus_torchserve.wire import headers
from nautilus_torchserve.wire.body import BINARY, JSON, excerpt
from nautilus_torchserve.wire.digest import folder_digest
from nautilus_torchserve.wire.errors import (
    BodyTooLarge,
    MalformedBody,
    NotAcceptable,
    NotExplained,
    OutputNotFinite,
    OutputOutOfRange,
    ResponseTooLarge,
)
from nautilus_torchserve.wire.output_constraints import OutputConstraints
from nautilus_torchserve.wire.response import AnswerSize, DecodedRequest, encode_binary, encode_json
from nautilus_torchserve.worker import failures, limits, worker_socket
from nautilus_torchserve.worker.request_headers import (
    BODY,
    accepts_binary,
    check_deadline,
    client_request_id,
    read_headers,
)


@dataclass(frozen=True)
class Request:
    """One request of a batch, checked."""

    asked: Any
    """What it asks for, a `wire.response.DecodedRequest`: what `TradingHandler.decode` made of its body."""
    binary: bool
    """Whether it wants float32 back instead of JSON."""


class TradingHandler(BaseHandler):
    """Requests in, named float32 outputs out, bit for bit the same in any batch.

    A subclass loads what it computes with, reads a body, and computes. The networks are built by the modules that
    ``model.json`` names. A handler module may define only one class: TorchServe takes the only one it finds.
    """

    output_names: tuple[str, ...]
    """What the columns of a table of answers are called, in order."""
    constraints = OutputConstraints()
    """What clients may rely on: ranges of outputs, and which of them sum to 1."""
    inputs: str
    """What a request holds: ``rows``, ``texts``, or ``windows and texts``."""
    explained: tuple[str, ...]
    """Outputs that can be explained."""
    explaining_s: float = 0.5
    """Longest time that all explanations of a batch may take: the predictions of the batch, and all that wait for the
    worker, wait for them."""
    explaining_alone_s: float = 2.0
    """The same in a registration for explanations alone (`explain.ALONE`), and of one call in process; well below
    ``responseTimeout`` of the archive."""
    most_explained: int = 8
    """Rows, texts or windows that one request may ask to have explained."""
    most_explained_bytes: int = 1 << 18
    """Length of a request's body above which it is refused unread; well above that of `most_explained`."""

    @abstractmethod
    def load(self, folder: Path) -> tuple[int, ...]:
        """Load from the unpacked archive to `device`, prove invariance; the sizes of the tiles used."""

    @abstractmethod
    def decode(self, content: object, content_type: str | None) -> DecodedRequest:
        """Read and check one request's body; raises `RequestError`."""

    @abstractmethod
    def accept(self, inputs: Any) -> DecodedRequest:
        """Check what a caller in this process holds as objects, as `decode` does a body."""

    @abstractmethod
    def compute(self, asked: Sequence[Any]) -> NDArray[np.float32]:
        """Answer all rows of several requests, one after the other: float32 [n, len(output_names)]."""

    @abstractmethod
    def explain_request(self, asked: Any, output: str | None, until_s: float) -> list[dict[str, Any]]:
        """What moved an output, of each row of a request in plain JSON types; see
        `inference.explain.integrate`.

        Parameters
        ----------
        asked : Asked
            What `decode` or `accept` made of the request.
        output : str or None
            One of `explained`; None: the model's own choice.
        until_s : float
            `time.perf_counter` by which to come to an end.

        Raises
        ------
        NotExplained
            There is no such output, or there is too much to explain.
        """

    def columns(self, table: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        """A request's table as its JSON answer shows it."""
        return dict(zip(self.output_names, table.T, strict=True))

    def initialize(self, context: Context) -> None:
        """Load, prove the golden answers and the tiles' invariance; only then is the worker ready.

        Raises
        ------
        BadArchive
            Something is missing, or the golden answers come out different.
        UnsupportedDevice
            torch has no kernels for the assigned GPU.
        """
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("highest")  # importing BaseHandler allows TF32 on CUDA
        self.context = context
        self.manifest = context.manifest
        folder = Path(context.system_properties["model_dir"])
        self.device = choose_device(context.system_properties.get("gpu_id"))
        self.description = model_files.read_description(folder)
        self.schema = model_files.read_schema(self.description)
        self.version = str(context.manifest["model"]["modelVersion"])
        self.digest = folder_digest(folder)
        self.limits = limits.read_limits(context.system_properties.get("batch_size"))
        headroom = limits.read_memory_headroom(context.model_yaml_config)
        self.tile_sizes = self.load(folder)
        golden = model_files.read_golden(folder)
        answers = self._compute([self.golden_request(golden.inputs)])
        golden.verify(dict(zip(self.output_names, answers.T, strict=True)))
        self._check_constraints(answers)
        size, most = AnswerSize.of(self.columns(answers[:1]), len(self.output_names)), self.limits.answer_bytes
        self._most_rows = {binary: size.most_rows(most, binary) for binary in (True, False)}
        self._headers = {
            headers.MODEL_VERSION: self.version,
            headers.ARCHIVE_DIGEST: self.digest,
            headers.FEATURE_SCHEMA: self.schema.sha256,
        }
        # Each line of a worker's log goes through a pipe and a regular expression in Java, and a
        # client's malformed JSON is a warning of 20 lines there.
        logging.getLogger().setLevel(logging.ERROR)
        if worker_socket.install():
            gc.freeze()  # or a body of many lists has the collector look at all of torch again, for seconds
            if headroom and self.device.type == "cpu":  # CUDA maps memory as data
                limits.limit_memory(headroom)
        self.initialized = True

    def _check_constraints(self, answers: NDArray[np.float32]) -> None:
        """Golden answers outside of the declared constraints: clients would refuse every answer."""
        unknown = self.constraints.names.difference(self.output_names)
        try:
            if unknown:
                raise BadArchive(f"expected constraints of {', '.join(self.output_names)}, got {min(unknown)}")
            self.constraints.check_table(answers, self.output_names)
        except (OutputNotFinite, OutputOutOfRange) as error:
            raise BadArchive(f"{model_files.GOLDEN}: the handler's own constraints: {error}") from error

    @abstractmethod
    def golden_request(self, inputs: Mapping[str, NDArray[Any]]) -> DecodedRequest:
        """What ``golden.npz`` asks."""

    def predict(self, inputs: Any) -> NDArray[np.float32]:
        """Answer what `accept` takes; this is what ``mar:`` clients call.

        Returns
        -------
        float32 [n, len(output_names)]

        Raises
        ------
        OutputNotFinite
            Of the first row concerned.
        RequestError
            Inputs that the model refuses.
        """
        table = self._compute([self.accept(inputs)])
        _refuse_not_finite(table, self.output_names)
        return table

    def explanations(self, inputs: Any, output: str | None = None) -> list[dict[str, Any]]:
        """Explain what `accept` takes, as `explain_request` does; this is what ``mar:`` clients call.

        Raises
        ------
        RequestError
            Inputs that the model refuses, or an output that it does not explain.
        """
        return self.explain_request(self.accept(inputs), output, time.perf_counter() + self.explaining_alone_s)

    def handle(self, data: list[dict[str, Any]], context: Context) -> list[bytes | None]:
        """Answer a batch: one answer a request, and whatever a request raises in its own place."""
        self.context = context
        answers: list[bytes | None] = [None] * len(data)
        requests: dict[int, Request] = {}
        explained: dict[int, tuple[dict[str, Any], dict[str, str]]] = {}
        for index, item in enumerate(data):
            try:
                sent = read_headers(context.get_all_request_header(index))
                self._send_back_id(index, sent)
                if sent.get("describe") == "True":  # as TorchServe's management port asks, and our client
                    answers[index] = self._describe(index)
                elif sent.get(headers.EXPLAIN) == "True":
                    explained[index] = item, sent
                else:
                    request = self._read(item, sent)
                    self._check_answer_size(request)
                    requests[index] = request
            except Exception as error:
                answers[index] = self._fail(index, error)
        if explained:
            self._explain_all(explained, answers)
        if requests:
            self._answer(requests, answers)
        return answers

    def _send_back_id(self, index: int, sent: dict[str, str]) -> None:
        chosen = client_request_id(sent)
        if chosen is not None:
            self.context.set_response_header(index, headers.CLIENT_REQUEST_ID, chosen)

    def _read(self, item: dict[str, Any], sent: dict[str, str]) -> Request:
        """Check one request by its parts and its headers."""
        check_deadline(sent)
        binary = accepts_binary(sent)
        content = item.get(BODY)
        if len(item) > 1 and content is not None:
            _refuse_other_parts(item)
        if self.limits.body_bytes is not None and isinstance(content, bytes | bytearray | str):
            self._check_body_size(len(content), self.limits.body_bytes)
        return Request(self.decode(content, sent.get("content-type")), binary)

    def _explain_all(
        self, explained: dict[int, tuple[dict[str, Any], dict[str, str]]], answers: list[bytes | None]
    ) -> None:
        """Explain what a batch's requests ask for, in equal shares of the time that a batch has for it."""
        alone = self.context.model_name.endswith(explain.ALONE)
        until_s = time.perf_counter() + (self.explaining_alone_s if alone else self.explaining_s)
        for waiting, (index, (item, sent)) in zip(range(len(explained), 0, -1), explained.items(), strict=True):
            try:
                answers[index] = self._explain(index, item, sent, explain.fair_share(until_s, waiting))
            except Exception as error:  # the boundary of a request
                answers[index] = self._fail(index, error)

    def _explain(self, index: int, item: dict[str, Any], sent: dict[str, str], until_s: float) -> bytes:
        """Answer one request's explanations."""
        content = item.get(BODY)
        if isinstance(content, bytes | bytearray) and len(content) > self.most_explained_bytes:
            raise NotExplained(
                f"expected a body of at most {self.most_explained_bytes:,} bytes to explain, got {len(content):,}: ask "
                f"for the explanation of at most {self.most_explained} inputs in a request"
            )
        request, output = self._read(item, sent), sent.get(headers.EXPLAIN_OUTPUT)
        if request.binary and JSON not in sent["accept"]:
            raise NotAcceptable(f"accept {JSON} expected for explanations, was {excerpt(sent['accept'])}")
        answer = {
            "model": self.context.model_name,
            "version": self.version,
            "output": output,
            "explanations": self.explain_request(request.asked, output, until_s),
        }
        return self._checked(index, JSON, orjson.dumps(answer))

    def _compute(self, asked: Sequence[DecodedRequest]) -> NDArray[np.float32]:
        """Return what `compute` does, refused where a row is missing: the next request would get its answer."""
        table = self.compute(asked)
        if len(table) != sum(map(len, asked)):
            raise ValueError(f"expected {sum(map(len, asked))} rows of the model's compute, got {len(table)}")
        return table

    def _answer(self, requests: dict[int, Request], answers: list[bytes | None]) -> None:
        """Compute all rows together, then give each request its part.

        Where that fails each request is computed alone, so that only the one that cannot be computed gets the error.
        """
        failure: Exception | None = None
        try:
            table = self._compute([request.asked for request in requests.values()])
        except Exception as error:
            failure = error
        if failure is not None:  # outside of the except clause, or each failure of one would be chained to it
            self._answer_alone(requests, answers, failure)
            return
        finite = bool(np.isfinite(table).all())  # of all at once: a look at each part costs more than the network
        start = 0
        for index, request in requests.items():
            part = table[start : start + len(request.asked)]
            start += len(part)
            try:
                if not finite:
                    _refuse_not_finite(part, self.output_names)
                answers[index] = self._encode(index, part, request)
            except Exception as error:
                answers[index] = self._fail(index, error)

    def _answer_alone(self, requests: dict[int, Request], answers: list[bytes | None], failure: Exception) -> None:
        """Answer one by one the requests that could not be computed together."""
        if len(requests) == 1:
            (index,) = requests
            answers[index] = self._fail(index, failure)
            return
        for index, request in requests.items():
            self._answer({index: request}, answers)
        if all(self.context.get_response_status(index)[0] == HTTPStatus.OK for index in requests):
            failures.log_traceback(failure, f"a batch of {len(requests)} requests, each of which could be answered,")

    def _encode(self, index: int, table: NDArray[np.float32], request: Request) -> bytes:
        if request.binary:
            return self._checked(index, BINARY, encode_binary(table))
        answer = encode_json(self.context.model_name, self.version, self.columns(table), request.asked)
        return self._checked(index, JSON, answer)

    def _describe(self, index: int) -> bytes:
        return self._checked(index, JSON, json.dumps(self.describe_handle()).encode())

    def _checked(self, index: int, content_type: str, answer: bytes) -> bytes:
        """Label an answer, refused where TorchServe would end the worker for its length."""
        if len(answer) > self.limits.answer_bytes:
            raise ResponseTooLarge(
                f"expected an answer of at most {self.limits.answer_bytes:,} bytes, got {len(answer):,}: "
                "ask for less in a request"
            )
        self._label(index, content_type)
        return answer

    def _fail(self, index: int, error: Exception) -> bytes:
        refusal = failures.as_request_error(error, self.context.get_request_id(index))
        self.context.set_response_status(refusal.code, refusal.reason, index)
        self._label(index, JSON)
        return refusal.body()

    def _label(self, index: int, content_type: str) -> None:
        self.context.set_response_content_type(index, content_type)
        for name, value in self._headers.items():
            self.context.set_response_header(index, name, value)

    def _check_body_size(self, size: int, most: int) -> None:
        if size > most:
            raise BodyTooLarge(
                f"expected a body of at most {most:,} bytes, as {self.limits.batch_size} requests may share a batch "
                f"here, got {size:,}: send less in a request, or ask a registration with a smaller batch"
            )

    def _check_answer_size(self, request: Request) -> None:
        """Refuse a request for more rows than its answer can hold, before they are computed."""
        rows, most = len(request.asked), self._most_rows[request.binary]
        if rows > most:
            remedy = "" if request.binary else f", or accept {BINARY}, which holds {self._most_rows[True]:,}"
            raise ResponseTooLarge(
                f"expected a request for at most {most:,} rows, as {self.limits.answer_bytes:,} bytes of answer hold "
                f"in {BINARY if request.binary else JSON}, got {rows:,}: send fewer rows in a request{remedy}"
            )

    def describe_handle(self) -> dict[str, Any]:
        """What clients check when they connect: ``model.json`` and what this worker found."""
        return {
            **self.description,
            "version": self.version,
            "archive_digest": self.digest,
            "feature_schema_sha256": self.schema.sha256,
            "inputs": self.inputs,
            "outputs": list(self.output_names),
            "output_constraints": self.constraints.to_dict(),
            "explained_outputs": list(self.explained),
            "batch_invariant": True,  # the probe found tiles, or the worker would not be here
            "tile_rows": list(self.tile_sizes),
            "device": str(self.device),
            "worker_torch": torch.__version__,
        }


def _refuse_other_parts(item: dict[str, Any]) -> None:
    """Refuse parts of a form beside the body, which would be left unread: a client meant something by them."""
    others = sorted(set(item) - {BODY, "model_name"})  # the latter names the model on TorchServe's invocations route
    if others:
        raise MalformedBody(f"expected one part {BODY!r} in a form, got also {excerpt(others)}")


def _refuse_not_finite(table: NDArray[np.float32], names: tuple[str, ...]) -> None:
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0].tolist()
        raise OutputNotFinite(f"finite {names[column]!r} expected for row {row}, was {table[row, column]}")
