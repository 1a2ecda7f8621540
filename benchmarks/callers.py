"""Clients that send requests without end while versions are swapped under them."""

import multiprocessing
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.wire.errors import RequestError

TIMEOUT_S = 20.0
"""Longest wait for one response."""


class Call(NamedTuple):
    """One request."""

    began_s: float
    """On the clock of `time.monotonic`, which all processes of a machine share."""
    took_ms: float
    version: str
    """Version that answered; empty where none did."""
    error: str


@dataclass
class Callers:
    """Threads, each with a keep-alive connection of its own to the default route; stopped when the block ends.

    They run in a process of their own, where nothing of the caller's delays them.
    """

    server: TorchServe
    model: str
    rows: NDArray[np.float32]
    """Rows, of which the first is sent."""
    count: int = 8
    pause_s: float = 0.0
    """Between two requests of one of them."""
    calls: list[Call] = field(default_factory=list)
    """All calls, once the block has ended."""

    def __enter__(self) -> "Callers":
        context = multiprocessing.get_context("spawn")
        self._stop, self._ended = context.Event(), context.Value("q", 0)
        self._results, sender = context.Pipe(duplex=False)
        target = (self.server.inference_url, self.model, self.server.token, self.rows[:1])
        self._process = context.Process(
            target=_call_all, args=(target, self.count, self.pause_s, self._stop, self._ended, sender), daemon=True
        )
        self._process.start()
        sender.close()
        self.wait_for(self.count)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if not self._results.poll(2 * TIMEOUT_S):
            self._process.kill()
            raise TimeoutError(
                f"{self.model}: expected responses to all requests within {2 * TIMEOUT_S:g} s, got none to the last"
            )
        self.calls += self._results.recv()
        self._process.join()

    def wait_for(self, calls: int, within_s: float = 30.0) -> None:
        """Wait until so many requests more have ended."""
        goal, deadline = self._ended.value + calls, time.monotonic() + within_s
        while (ended := self._ended.value) < goal:
            if time.monotonic() > deadline or not self._process.is_alive():
                raise TimeoutError(
                    f"{self.model}: expected {calls} responses within {within_s:g} s, got {calls - (goal - ended)}"
                )
            time.sleep(0.005)

    @property
    def errors(self) -> list[str]:
        """Errors of the calls that failed."""
        return [call.error for call in self.calls if call.error]

    def latencies_ms(self, since_s: float, until_s: float) -> NDArray[np.float64]:
        """Return the latencies of the calls begun then."""
        return np.array([call.took_ms for call in self.calls if since_s <= call.began_s < until_s])


def _call_all(target: tuple[Any, ...], count: int, pause_s: float, stop: Any, ended: Any, sender: Connection) -> None:
    calls: list[Call] = []
    threads = [threading.Thread(target=_call, args=(*target, pause_s, stop, ended, calls)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sender.send(calls)


def _call(
    url: str,
    model: str,
    token: str | None,
    row: NDArray[np.float32],
    pause_s: float,
    stop: Any,
    ended: Any,
    calls: list[Call],
) -> None:
    with connect(url, model, token=token, timeout_s=TIMEOUT_S) as client:
        while not stop.is_set():
            began, version, error = time.monotonic(), "", ""
            try:
                version = client.predict(row).version
            except RequestError as refused:
                error = f"{type(refused).__name__}: {refused}"
            calls.append(Call(began, (time.monotonic() - began) * 1000, version, error))
            with ended.get_lock():
                ended.value += 1
            if pause_s:
                time.sleep(pause_s)
