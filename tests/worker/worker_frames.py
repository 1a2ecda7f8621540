"""Batches as TorchServe's frontend writes them to a worker's socket, and answers as it reads them."""

import logging
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from ts.context import Context
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.service import Service

from nautilus_torchserve.serving.client.archive_file import open_archive, read_manifest
from nautilus_torchserve.worker.trading_handler import TradingHandler
from nautilus_torchserve.worker.worker_socket import Reader
from support import PROJECT

END = struct.pack("!i", -1)
MOST_BYTES = 4 << 20
"""TorchServe's ``max_response_size``: a longer field ends the worker."""


@dataclass(frozen=True)
class Sent:
    """One request as the frontend has parsed it."""

    parts: Sequence[tuple[str, str, bytes]] = ()
    """Name, content type and content."""
    headers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Received:
    """One answer as the frontend reads it."""

    status: int
    headers: dict[str, str] = field(repr=False)
    body: bytes


def length_and(content: str | bytes) -> bytes:
    """Return one field of a frame; Java writes a question mark for half of a character."""
    data = content.encode(errors="replace") if isinstance(content, str) else content
    return struct.pack("!i", len(data)) + data


def message(batch: Sequence[tuple[str, Sequence[tuple[str, str]], Sequence[tuple[str, str, bytes]]]]) -> bytes:
    """A batch of identifiers, headers and parts as TorchServe's frontend writes it."""
    written = [b"I"]
    for identifier, headers, parts in batch:
        written.append(length_and(identifier))
        written += [length_and(name) + length_and(value) for name, value in headers]
        written.append(END)
        written += [length_and(name) + length_and(kind) + length_and(value) for name, kind, value in parts]
        written.append(END)
    return b"".join([*written, END])


class Trickle:
    """A socket's receiving end whose bytes arrive in pieces of these sizes, the rest at once."""

    def __init__(self, data: bytes, sizes: Sequence[int] = ()) -> None:
        self._data = memoryview(data)
        self._sizes = list(sizes)

    def recv(self, limit: int) -> bytes:
        size = min(limit, self._sizes.pop(0) if self._sizes else len(self._data))
        piece, self._data = self._data[:size], self._data[size:]
        return bytes(piece)


class Worker:
    """TorchServe's own service with the handler of a built-in model, from the frame it receives to the one it sends.

    Parameters
    ----------
    archive : Path
        Holds the model; its stem names the handler.
    folder : Path
        Where to unpack it.
    name : str, optional
        Name of the registration; default: the archive's stem.
    """

    def __init__(self, archive: Path, folder: Path, batch_size: int = 1, name: str | None = None) -> None:
        manifest = read_manifest(archive)
        with open_archive(archive) as members:
            members.extractall(folder)
        module = import_module(f"handlers.{archive.stem}_handler")
        self.handler: TradingHandler = getattr(module, f"{archive.stem.title()}Handler")()
        level = logging.getLogger().level
        self.handler.initialize(Context(archive.stem, str(folder), manifest, 1, None, "0.12.0"))
        logging.getLogger().setLevel(level)  # handlers silence their worker; this process is the tests'
        self._service = Service(
            name or archive.stem, str(folder), manifest, self.handler.handle, None, batch_size, metrics_cache=_metrics()
        )
        self._service.set_cl_socket(None)

    def answer(self, requests: Sequence[Sent]) -> list[Received]:
        """Answer one batch."""
        frame = message([(f"id-{at}", request.headers, request.parts) for at, request in enumerate(requests)])
        _, batch = Reader().retrieve_msg(Trickle(frame))  # type: ignore[arg-type]
        code, answers = _read_answers(bytes(self._service.predict(batch)))
        assert code == 200, "the whole batch failed"
        assert [identifier for identifier, _ in answers] == [f"id-{at}" for at in range(len(requests))]
        return [answer for _, answer in answers]


def _metrics() -> MetricsCacheYamlImpl:
    metrics = MetricsCacheYamlImpl(config_file_path=str(PROJECT / "deploy" / "metrics.yaml"))
    metrics.initialize_cache()
    return metrics


class _Frame:
    """Reads a frame as ``org.pytorch.serve.util.codec.ModelResponseDecoder`` does."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self) -> int:
        self._at += 4
        return int(struct.unpack_from("!i", self._data, self._at - 4)[0])

    def content(self) -> bytes | None:
        """None at the end of a list."""
        length = self.number()
        assert length <= MOST_BYTES, "TorchServe would end the worker"
        if length == -1:
            return None
        self._at += length
        assert self._at <= len(self._data)
        return self._data[self._at - length : self._at]

    def text(self) -> str:
        return (self.content() or b"").decode()


def _read_answers(data: bytes) -> tuple[int, list[tuple[str, Received]]]:
    frame, answers = _Frame(data), []
    code, _ = frame.number(), frame.text()
    while (identifier := frame.content()) is not None:
        kind, status, _ = frame.text(), frame.number(), frame.text()
        headers = {frame.text(): frame.text() for _ in range(frame.number())}
        answer = Received(status, {**headers, "content-type": kind}, frame.content() or b"")
        answers.append((identifier.decode(), answer))
    return code, answers
