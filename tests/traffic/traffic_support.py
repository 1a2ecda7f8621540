"""What the tests of traffic share besides fixtures."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nautilus_torchserve.traffic.records import CallWindow
from nautilus_torchserve.traffic.router import Router
from nautilus_torchserve.traffic.split import Kind, Split
from nautilus_torchserve.traffic.store import TrafficStore

MODEL = "tick-split"
"""Has versions 1.0, the server's default, and 1.1."""
NEVER_S = 3600.0
"""Interval of a router that the test refreshes."""
MakeRouter = Callable[..., Router]


def calls(store: TrafficStore, split: str) -> dict[str, tuple[int, int]]:
    """Version -> requests and errors of a split, over all windows."""
    counts: dict[str, tuple[int, int]] = {}
    for window in store.read(CallWindow, split):
        requests, errors = counts.get(window.version, (0, 0))
        counts[window.version] = requests + window.requests, errors + window.errors
    return counts


def canary(share: float, **changes: Any) -> Split:
    """A split of `MODEL` between its versions."""
    return Split(
        **{
            "name": "canary-1",
            "model": MODEL,
            "kind": Kind.CANARY,
            "baseline": "1.0",
            "challenger": "1.1",
            "share": share,
            **changes,
        }
    )


def versions(router: Router, rows: np.ndarray, instruments: int = 30, has_exposure: bool = False) -> list[str]:
    """Versions that answer about I0, I1, ..."""
    return [router.predict(rows[:1], f"I{number}", number, has_exposure).version for number in range(instruments)]
