"""What every model's handler shares: batches of requests, each with its own answer or its own error."""

import logging
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from ts.context import Context
from ts.torch_handler.base_handler import BaseHandler

from handlers import model_files, worker_socket
from handlers.device import choose_device
from handlers.model_files import BadArchive
from wire import headers
from wire.answer import Asked, encode_binary, encode_json
from wire.body import BINARY, JSON
from wire.digest import folder_digest
from wire.errors import BadHeader, DeadlinePassed, NotAcceptable, OutputNotFinite, OutputOutOfRange, RequestError
from wire.output_constraints import OutputConstraints


@dataclass(frozen=True)
class Request:
    """One request of a batch, checked."""

    asked: Any
    """What it asks for, a `wire.answer.Asked`: what `TradingHandler.decode` made of its body."""
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
    explaining_s: float
    """Longest time that one request's explanations may take: well below ``responseTimeout`` of the archive."""

    @abstractmethod
    def load(self, folder: Path) -> tuple[int, ...]:
        """Load from the unpacked archive to `device`, prove invariance; the sizes of the tiles used."""

    @abstractmethod
    def decode(self, content: object, content_type: str | None) -> Asked:
        """Read and check one request's body; raises `RequestError`."""

    @abstractmethod
    def accept(self, inputs: Any) -> Asked:
        """Check what a caller in this process holds as objects, as `decode` does a body."""

    @abstractmethod
    def compute(self, asked: Sequence[Any]) -> NDArray[np.float32]:
        """Answer all rows of several requests, one after the other: float32 [n, len(output_names)]."""

    @abstractmethod
    def explain_request(self, asked: Any, output: str | None, until_s: float) -> list[dict[str, Any]]:
        """What moved an output, of each row of a request in plain JSON types; see `handlers.explain`.

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
        self.tile_sizes = self.load(folder)
        golden = model_files.read_golden(folder)
        answers = self.compute([self.golden_request(golden.inputs)])
        golden.verify(dict(zip(self.output_names, answers.T, strict=True)))
        self._check_constraints(answers)
        self._headers = {
            headers.MODEL_VERSION: self.version,
            headers.ARCHIVE_DIGEST: self.digest,
            headers.FEATURE_SCHEMA: self.schema.sha256,
        }
        # Each line of a worker's log goes through a pipe and a regular expression in Java, and a
        # client's malformed JSON is a warning of 20 lines there.
        logging.getLogger().setLevel(logging.ERROR)
        worker_socket.install()
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
    def golden_request(self, inputs: Mapping[str, NDArray[Any]]) -> Asked:
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
        table = self.compute([self.accept(inputs)])
        _refuse_not_finite(table, self.output_names)
        return table

    def explanations(self, inputs: Any, output: str | None = None) -> list[dict[str, Any]]:
        """Explain what `accept` takes, as `explain_request` does; this is what ``mar:`` clients call.

        Raises
        ------
        RequestError
            Inputs that the model refuses, or an output that it does not explain.
        """
        return self.explain_request(self.accept(inputs), output, time.perf_counter() + self.explaining_s)

    def handle(self, data: list[dict[str, Any]], context: Context) -> list[Any]:
        """Answer a batch: one answer a request, a bad request's error in its own place."""
        self.context = context
        answers: list[Any] = [None] * len(data)
        requests: dict[int, Request] = {}
        for index, item in enumerate(data):
            sent = {name.lower(): value for name, value in context.get_all_request_header(index).items()}
            try:
                if sent.get("describe") == "True":  # as TorchServe's management port asks, and our client
                    answers[index] = self.describe_handle()
                    self._label(index, JSON)
                elif sent.get(headers.EXPLAIN) == "True":
                    answers[index] = self._explain(index, item, sent)
                else:
                    requests[index] = self._read(item, sent)
            except RequestError as error:
                answers[index] = self._refuse(index, error)
        if requests:
            self._answer(requests, answers)
        return answers

    def _read(self, item: dict[str, Any], sent: dict[str, Any]) -> Request:
        """Check one request; ``sent`` holds its headers and each part's own (``{"body": {...}}``)."""
        deadline = sent.get(headers.DEADLINE_NS)
        if deadline is not None:
            _refuse_late(deadline)
        accept = sent.get("accept", "*/*")
        binary = BINARY in accept
        if not (binary or JSON in accept or "*/*" in accept or "application/*" in accept):
            raise NotAcceptable(f"accept {JSON} or {BINARY} expected, was {accept}")
        content_type = sent.get("body", {}).get("content-type") or sent.get("content-type")
        return Request(self.decode(item.get("body"), content_type), binary)

    def _explain(self, index: int, item: dict[str, Any], sent: dict[str, Any]) -> bytes:
        """One request's explanations; its batch mates wait for them, as all answers of a batch go together."""
        request, output = self._read(item, sent), sent.get(headers.EXPLAIN_OUTPUT)
        if request.binary and JSON not in sent["accept"]:
            raise NotAcceptable(f"accept {JSON} expected for explanations, was {sent['accept']}")
        explanations = self.explain_request(request.asked, output, time.perf_counter() + self.explaining_s)
        self._label(index, JSON)
        return orjson.dumps(
            {"model": self.context.model_name, "version": self.version, "output": output, "explanations": explanations}
        )

    def _answer(self, requests: dict[int, Request], answers: list[Any]) -> None:
        """Compute all rows together, then give each request its part."""
        table = self.compute([request.asked for request in requests.values()])
        finite = bool(np.isfinite(table).all())  # of all at once: a look at each part costs more than the network
        start = 0
        for index, request in requests.items():
            part = table[start : start + len(request.asked)]
            start += len(part)
            try:
                if not finite:
                    _refuse_not_finite(part, self.output_names)
                answers[index] = self._encode(index, part, request)
            except RequestError as error:
                answers[index] = self._refuse(index, error)

    def _encode(self, index: int, table: NDArray[np.float32], request: Request) -> bytes:
        if request.binary:
            self._label(index, BINARY)
            return encode_binary(table)
        self._label(index, JSON)
        return encode_json(self.context.model_name, self.version, self.columns(table), request.asked)

    def _refuse(self, index: int, error: RequestError) -> bytes:
        self.context.set_response_status(error.code, error.reason, index)
        self._label(index, JSON)
        return error.body()

    def _label(self, index: int, content_type: str) -> None:
        self.context.set_response_content_type(index, content_type)
        for name, value in self._headers.items():
            self.context.set_response_header(index, name, value)

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


def _refuse_late(deadline: str) -> None:
    if not deadline.isdecimal():
        raise BadHeader(f"{headers.DEADLINE_NS} in Unix nanoseconds expected, was {deadline!r}")
    late_ns = time.time_ns() - int(deadline)
    if late_ns > 0:
        raise DeadlinePassed(f"an answer before {deadline} was asked for, that was {late_ns} ns ago")


def _refuse_not_finite(table: NDArray[np.float32], names: tuple[str, ...]) -> None:
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0].tolist()
        raise OutputNotFinite(f"finite {names[column]!r} expected for row {row}, was {table[row, column]}")
