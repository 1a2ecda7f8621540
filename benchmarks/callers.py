"""Clients that go on asking while versions are swapped under them."""

import threading
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serving.client import connect
from serving.torchserve import TorchServe
from wire.errors import RequestError


@dataclass
class Call:
    """One request."""

    began_s: float
    """On the clock of `time.monotonic`."""
    took_ms: float
    version: str
    """Which one answered; empty where none did."""
    error: str


@dataclass
class Callers:
    """Threads, each with a keep-alive connection of its own to the default route; stopped when the block ends."""

    server: TorchServe
    model: str
    rows: NDArray[np.float32]
    """Of which the first is asked."""
    count: int = 8
    pause_s: float = 0.0
    """Between two requests of one of them."""
    calls: list[Call] = field(default_factory=list)

    def __enter__(self) -> "Callers":
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(self.count)]
        for thread in self._threads:
            thread.start()
        self.wait_for(self.count)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)
        if any(thread.is_alive() for thread in self._threads):
            raise TimeoutError(f"{self.model}: all requests answered within 30 s expected, one hangs")

    def wait_for(self, calls: int, within_s: float = 20.0) -> None:
        """Wait until so many requests more have ended."""
        goal, deadline = len(self.calls) + calls, time.monotonic() + within_s
        while len(self.calls) < goal:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.model}: {calls} requests more within {within_s:g} s expected, "
                                   f"was {len(self.calls) - goal + calls}")
            time.sleep(0.005)

    @property
    def errors(self) -> list[str]:
        """What the failed ones said."""
        return [call.error for call in self.calls if call.error]

    def latencies_ms(self, since_s: float, until_s: float) -> NDArray[np.float64]:
        """Of the requests that were begun then."""
        return np.array([call.took_ms for call in self.calls if since_s <= call.began_s < until_s])

    def _ask(self) -> None:
        with connect(self.server.inference_url, self.model, token=self.server.token, timeout_s=20.0) as client:
            while not self._stop.is_set():
                began, version, error = time.monotonic(), "", ""
                try:
                    version = client.predict(self.rows[:1]).version
                except RequestError as refused:
                    error = f"{type(refused).__name__}: {refused}"
                self.calls.append(Call(began, (time.monotonic() - began) * 1000, version, error))
                if self.pause_s:
                    self._stop.wait(self.pause_s)
