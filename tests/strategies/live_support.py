"""A model asked as in a live run, over a connection that can be held up and cut."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zipfile import ZipFile

import numpy as np
from nautilus_trader.model.identifiers import InstrumentId

from features.schema import FeatureSchema
from features.tick import tick_schema
from serving.torchserve import free_ports
from strategies.inference_actor import InferenceActorConfig
from strategies.live_calls import LiveCalls
from strategies.live_calls_config import LiveCallsConfig
from strategies.model_call import Fate, ModelCall, ModelHealth, Question

BTC, ETH = (InstrumentId.from_str(f"{name}USDT-PERP.BINANCE") for name in ("BTC", "ETH"))
MS = 1_000_000


class Proxy:
    """A TCP relay to a server, for as long as it is entered: it can hold answers back, and be cut and opened again."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = parts.hostname, parts.port
        self._port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self._port}"
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Nobody listens any more, and what is connected breaks off."""
        assert self._listener is not None
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def hold(self) -> None:
        """Bytes from the server stay here until `release`."""
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    def __enter__(self) -> "Proxy":
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self.cut()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._open += [client, server]
            for each in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._relay, args=each, daemon=True).start()

    def _relay(self, here: socket.socket, there: socket.socket, held: bool) -> None:
        with contextlib.suppress(OSError):
            while data := here.recv(65536):
                if held:
                    self._flowing.wait()
                there.sendall(data)
        for each in (here, there):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Asked:
    """`LiveCalls` with what it delivered; its methods are for the event loop."""

    def __init__(self, config: InferenceActorConfig, schema: FeatureSchema, **given: Any) -> None:
        self.calls: list[ModelCall] = []
        self.splits: list[str] = []
        self.health: list[ModelHealth] = []
        self.held: set[InstrumentId] = set()
        self.questions: list[Question] = []
        callables = {"held": self.held.__contains__, "deliver": self._deliver, "changed": self.health.append, **given}
        self.live = LiveCalls(
            config, schema, callables.pop("fits", _fits), loop=asyncio.get_running_loop(), now_ns=time.time_ns,
            **callables,
        )

    def put(self, row: np.ndarray, instrument_id: InstrumentId = BTC, *, age_ns: int = 0) -> Question:
        """Ask about a row that was received so long ago."""
        at = time.time_ns() - age_ns
        self.questions.append(Question(instrument_id, len(self.questions), at, at, row))
        self.live.put(self.questions[-1])
        return self.questions[-1]

    def fates(self) -> dict[int, Fate]:
        """By the questions' numbers; each ended once, or this fails."""
        ended = [
            (each.number, fate)
            for call in self.calls for each, fate in zip(call.questions, call.fates, strict=True)
        ]
        assert len(ended) == len(dict(ended))
        return dict(sorted(ended))

    async def ask(self, row: np.ndarray, instrument_id: InstrumentId = BTC) -> ModelCall:
        """Ask and wait; the call that answered."""
        question = self.put(row, instrument_id)
        await until(lambda: question.number in self.fates())
        return next(call for call in self.calls if question in call.questions)

    async def up(self) -> "Asked":
        await until(lambda: self.live.is_up)
        return self

    def states(self) -> list[str]:
        """Of health, each change once."""
        found = [each.state for each in self.health]
        return [state for state, before in zip(found, ["", *found], strict=False) if state != before]

    def _deliver(self, call: ModelCall, split: str) -> None:
        self.calls.append(call)
        self.splits.append(split)


def _fits(metadata: Mapping[str, Any]) -> None:
    """Any version."""


def config(
    url: str, model: str = "tick", live: Mapping[str, Any] | None = None, **changes: Any
) -> InferenceActorConfig:
    """Of an actor; patient, since the machine may be busy."""
    quick = {"deadline_ns": 10_000 * MS, "probe_after_ns": 50 * MS, "max_probe_after_ns": 200 * MS}
    return InferenceActorConfig(
        instrument_id=BTC, url=url, model=model, live=LiveCallsConfig(**{**quick, **(live or {})}), **changes
    )


def asking(configured: InferenceActorConfig, talk: Callable[[Asked], Awaitable[None]], **given: Any) -> Asked:
    """Ask a model on an event loop of its own until ``talk`` is over; everything that came of it."""

    async def run() -> Asked:
        asked = Asked(configured, given.pop("schema", tick_schema()), **given)
        try:
            await talk(asked)
        finally:
            asked.live.close()
        return asked

    asked = asyncio.run(run())
    wait_for(lambda: not threads_of(configured.model))
    return asked


def threads_of(model: str) -> list[str]:
    """Threads that ask or watch a model."""
    return [each.name for each in threading.enumerate() if each.name in (f"ask-{model}", f"watch-{model}")]


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for a condition, the event loop running."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.002)


def wait_for(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for a condition, without an event loop."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.002)


def of_other_features(archive: Path, to: Path, version: str) -> Path:
    """A copy of an archive under another version, whose model says that it looks back on 16 trades."""
    with ZipFile(archive) as old, ZipFile(to, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "MAR-INF/MANIFEST.json":
                manifest = json.loads(data)
                manifest["model"]["modelVersion"] = version
                data = json.dumps(manifest).encode()
            elif name == "model.json":
                model = json.loads(data)
                model["feature_schema"]["window"] = 16
                data = json.dumps(model).encode()
            new.writestr(name, data)
    return to
