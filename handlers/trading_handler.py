"""What every model's handler shares; a model adds its network and its outputs."""

import logging
import time
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from ts.context import Context
from ts.torch_handler.base_handler import BaseHandler

from handlers import model_files, worker_socket
from handlers.device import choose_device
from handlers.tiles import BASE_TILES, LARGE_TILES, probe
from wire import body, headers
from wire.digest import folder_digest
from wire.errors import BadHeader, DeadlinePassed, NotAcceptable, OutputNotFinite, RequestError


@dataclass(frozen=True)
class Request:
    """One request of a batch, checked."""

    asked: body.Request
    """Its rows, and the form they came in."""
    binary: bool
    """Whether it wants float32 back instead of JSON."""


class TradingHandler(BaseHandler):
    """Rows in, named float32 outputs out, bit for bit the same in any batch.

    A subclass says what it answers and, where not every finite row has a meaning, which rows it refuses.
    The network is built by the module that ``model.json`` names. A handler module may define only
    one class: TorchServe takes the only one it finds.
    """

    output_names: tuple[str, ...]
    """What the columns of `answer` are called, in order."""
    base_tiles: tuple[int, ...] = BASE_TILES
    """Smallest tiles to try, in order of preference: see `handlers.tiles.probe`."""
    large_tiles: tuple[int, ...] = LARGE_TILES
    """Larger tiles to try for many rows at once."""

    @abstractmethod
    def answer(self, rows: torch.Tensor) -> torch.Tensor:
        """Turn rows, float32 [tile, *row_shape], into float32 [tile, len(output_names)].

        Runs inside a tile, on `device`, with rows of several requests side by side.
        """

    def check(self, request: body.Request) -> None:
        """Raise a `RequestError` where a request's rows, finite and of the right shape, have no meaning."""

    def initialize(self, context: Context) -> None:
        """Load, prove the golden rows and the tiles' invariance; only then is the worker ready.

        Raises
        ------
        BadArchive
            Something is missing, or the golden rows come out different.
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
        self.model = model_files.build_network(self.description)
        self.model.load_state_dict(load_file(folder / model_files.WEIGHTS))
        self.model.to(self.device).eval()
        golden = model_files.read_golden(folder)
        with torch.inference_mode():
            golden_rows = torch.from_numpy(golden.rows).to(self.device)
            self.tiles = probe(self.answer, golden_rows, self.base_tiles, self.large_tiles)
        golden.verify(dict(zip(self.output_names, self.predict(golden.rows).T, strict=True)))
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

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Answer rows of the schema's shape; also what ``mar:`` clients call.

        Parameters
        ----------
        rows : float32 [n, *row_shape]
            n >= 1, finite.

        Returns
        -------
        float32 [n, len(output_names)]

        Raises
        ------
        OutputNotFinite
            Of the first row concerned.
        RequestError
            Rows that the model refuses, see `check`.
        """
        self.check(body.Request(rows))
        table = self._compute(rows)
        _refuse_not_finite(table, self.output_names)
        return table

    def _compute(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        if not rows.flags.writeable:  # torch has no read-only tensors
            rows = rows.copy()
        with torch.inference_mode():
            return self.tiles.run(self.answer, torch.from_numpy(rows).to(self.device)).cpu().numpy()

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
                    self._label(index, body.JSON)
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
        binary = body.BINARY in accept
        if not (binary or body.JSON in accept or "*/*" in accept or "application/*" in accept):
            raise NotAcceptable(f"accept {body.JSON} or {body.BINARY} expected, was {accept}")
        content_type = sent.get("body", {}).get("content-type") or sent.get("content-type")
        asked = body.decode(item.get("body"), content_type, self.schema.row_shape)
        self.check(asked)
        return Request(asked, binary)

    def _answer(self, requests: dict[int, Request], answers: list[Any]) -> None:
        """Compute all rows together, then give each request its part."""
        batches = [request.asked.rows for request in requests.values()]
        table = self._compute(batches[0] if len(batches) == 1 else np.concatenate(batches))
        finite = bool(np.isfinite(table).all())  # of all at once: a look at each part costs more than the network
        start = 0
        for index, request in requests.items():
            part = table[start : start + len(request.asked.rows)]
            start += len(part)
            try:
                if not finite:
                    _refuse_not_finite(part, self.output_names)
                answers[index] = self._encode(index, part, request)
            except RequestError as error:
                answers[index] = self._refuse(index, error)

    def _encode(self, index: int, table: NDArray[np.float32], request: Request) -> bytes:
        if request.binary:
            self._label(index, body.BINARY)
            return body.encode_binary(table)
        self._label(index, body.JSON)
        return body.encode_json(self.context.model_name, self.version, self.output_names, table, request.asked)

    def _refuse(self, index: int, error: RequestError) -> bytes:
        self.context.set_response_status(error.code, error.reason, index)
        self._label(index, body.JSON)
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
            "outputs": list(self.output_names),
            "batch_invariant": True,  # the probe found tiles, or the worker would not be here
            "tile_rows": list(self.tiles.sizes),
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
