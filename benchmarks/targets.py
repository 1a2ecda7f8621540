"""What our server promises against the others and against the bare network, from measured cells."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.comparison import Cell
from benchmarks.in_process import FORWARD, MAR, ONE, ONE_WINDOW
from benchmarks.payloads import MANY_BINARY, MANY_WINDOWS, ONE_BINARY, ONE_JSON, PRICE, WINDOW_BINARY, WINDOWS_BINARY
from benchmarks.servers import FASTAPI, OURS, OURS_MANY, PLAIN, PLAIN_MANY


@dataclass(frozen=True)
class Target:
    """One promise, and what was measured."""

    name: str
    value: float
    bound: float
    at_most: bool
    """Whether the bound is an upper one."""

    @property
    def reached(self) -> bool:
        """Whether the measured value meets the bound."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types for the report; with ``reached``."""
        return {**asdict(self), "reached": self.reached}


def find_targets(cells: Sequence[Cell]) -> list[Target]:
    """Return all targets, from all cells of `benchmarks.comparison.compare`; a price model's where it was measured."""
    by_key = {(cell.server, cell.request, cell.connections): cell for cell in cells}

    def p50(server: str, request: str, connections: int = 1) -> float:
        return by_key[server, request, connections].p50_ms

    def rate(server: str, request: str, connections: int) -> float:
        return by_key[server, request, connections].requests_per_s

    overhead_us = (p50(MAR, ONE) - p50(FORWARD, ONE)) * 1e3
    targets = [
        Target(
            "one row JSON, 1 connection: p50, tick / default",
            p50(OURS, ONE_JSON) / p50(PLAIN, ONE_JSON),
            0.5,
            at_most=True,
        ),
        Target(
            "one row binary, 1 connection: p50, tick / default",
            p50(OURS, ONE_BINARY) / p50(PLAIN, ONE_BINARY),
            0.5,
            at_most=True,
        ),
        Target(
            "one row JSON, 64 connections: requests/s, tick-many / default-many",
            rate(OURS_MANY, ONE_JSON, 64) / rate(PLAIN_MANY, ONE_JSON, 64),
            2.0,
            at_most=False,
        ),
        Target(
            "one row JSON, 64 connections: requests/s, tick-many / fastapi",
            rate(OURS_MANY, ONE_JSON, 64) / rate(FASTAPI, ONE_JSON, 64),
            2.5,
            at_most=False,
        ),
        Target(
            "1,024 rows binary, 1 connection: rows/s, tick / default",
            rate(OURS, MANY_BINARY, 1) / rate(PLAIN, MANY_BINARY, 1),
            2.0,
            at_most=False,
        ),
        Target("one row in process: p50, mar: over the bare forward (us)", overhead_us, 40.0, at_most=True),
    ]
    if any(cell.server == PRICE for cell in cells):
        floor_ms = p50(FORWARD, ONE_WINDOW) + p50(OURS, ONE_BINARY)
        targets += [
            Target(
                "one window binary, 1 connection: p50, price / (bare forward + tick's round trip)",
                p50(PRICE, WINDOW_BINARY) / floor_ms,
                1.3,
                at_most=True,
            ),
            Target(
                f"{MANY_WINDOWS} windows binary, 1 connection: windows/s, price",
                rate(PRICE, WINDOWS_BINARY, 1) * MANY_WINDOWS,
                1500.0,
                at_most=False,
            ),
        ]
    return targets
