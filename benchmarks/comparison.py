"""The measurement: every server, every request, every number of connections, in rounds."""

import statistics
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from benchmarks.in_process import Call, make_calls, measure
from benchmarks.load import Generator, Load, LoadResult
from benchmarks.payloads import PRICE, TICK, Payload, Server, check, make_payloads, make_window_payloads
from benchmarks.servers import NAMES, start_all, unpack_network
from nautilus_torchserve.inference.model_files import GOLDEN
from nautilus_torchserve.serving.client.client import InferenceClient, connect

CONNECTIONS = {TICK: (1, 8, 64), PRICE: (1, 8)}
"""Model -> how many at a time; bars fall due for a few actors at once, not for hundreds."""
_WARM_UP_CONNECTIONS = 8
_PRICE_PAYLOADS = 3
Step = Callable[[str], None]
_Key = tuple[str, str, int, int]


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    seconds: float = 2.0
    """Length of one load."""
    rounds: int = 3
    """Loads of each cell; a cell is the median over them."""
    warm_up: bool = True
    """Whether each server is loaded uncounted first, for Java's compiler."""

    def steps(self, price: bool) -> int:
        """Return how often `compare` calls its ``step``, with or without a price model."""
        checks = len(NAMES) * len(make_payloads())
        loads = checks * len(CONNECTIONS[TICK])
        if price:
            checks += _PRICE_PAYLOADS
            loads += _PRICE_PAYLOADS * len(CONNECTIONS[PRICE])
        return 1 + checks + self.rounds * (loads + 1)


@dataclass(frozen=True)
class Cell:
    """One server under one load."""

    server: str
    request: str
    connections: int
    rows: int
    """Rows of one request."""
    p50_ms: float
    p99_ms: float
    requests_per_s: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types for the report; with ``rows_per_s``."""
        return {**asdict(self), "rows_per_s": self.requests_per_s * self.rows}


def compare(archive: Path, price: Path | None, generator: Generator, plan: Plan, work: Path, step: Step) -> list[Cell]:
    """Start all servers, check their answers, load one after the other.

    Servers alternate within a round, so that a machine that grows slower does so for all.

    Parameters
    ----------
    archive : Path
        Our ``tick.mar``.
    price : Path or None
        Our ``price.mar``; without it there are no cells of windows.
    work : Path
        An empty folder.
    step : callable
        Called with what is about to be done, `Plan.steps` times.

    Raises
    ------
    LoadFailed, WrongResponse
        A measurement failed.
    StartFailed, NoJava, ManagementError, ServerFailed
        A server did not start.
    """
    archives = {TICK: archive} if price is None else {TICK: archive, PRICE: price}
    payloads = [*make_payloads(), *(make_window_payloads(_golden_rows(price)) if price is not None else ())]
    step("starting the servers")
    with ExitStack() as stack:
        clients = {model: stack.enter_context(connect(f"mar:{path}", model)) for model, path in archives.items()}
        network = work / "network"
        unpack_network(archive, network)
        servers = stack.enter_context(start_all(archive, price, network, work))
        pairs = [(server, payload) for server in servers for payload in payloads if server.model == payload.model]
        for server, payload in pairs:
            step(f"{server.name}: {payload.name}: correct response, warm-up")
            check(server, payload, _expected(clients[payload.model], payload))
            if plan.warm_up:
                generator.run(_load(server, payload, _WARM_UP_CONNECTIONS, plan.seconds))
        calls = [
            call
            for model, client in clients.items()
            for call in make_calls(client, archives[model], [q for q in payloads if q.model == model])
        ]
        return _measure_all(servers, payloads, calls, generator, plan, step)


def _measure_all(
    servers: list[Server], payloads: list[Payload], calls: list[Call], generator: Generator, plan: Plan, step: Step
) -> list[Cell]:
    measured: dict[_Key, list[LoadResult]] = defaultdict(list)
    loads = [
        (payload, connections, server)
        for payload in payloads
        for connections in CONNECTIONS[payload.model]
        for server in servers
        if server.model == payload.model
    ]
    for number in range(1, plan.rounds + 1):
        for payload, connections, server in loads:
            step(f"round {number}: {payload.name}, {connections} at a time: {server.name}")
            key = (server.name, payload.name, connections, len(payload.rows))
            measured[key].append(generator.run(_load(server, payload, connections, plan.seconds)))
        step(f"round {number}: in process")
        for call in calls:
            measured[call.name, call.request, 1, call.rows].append(measure(call.make, plan.seconds / 4))
    return [_median(key, results) for key, results in measured.items()]


def _golden_rows(archive: Path) -> NDArray[np.float32]:
    with ZipFile(archive) as packed, packed.open(GOLDEN) as stored, np.load(stored, allow_pickle=False) as golden:
        return golden["rows"]


def _expected(client: InferenceClient, payload: Payload) -> NDArray[np.float32]:
    return np.stack(list(client.predict(payload.rows).outputs.values()), axis=1)  # (n, outputs)


def _load(server: Server, payload: Payload, connections: int, seconds: float) -> Load:
    return Load(server.url, {**server.headers, **payload.headers}, payload.body, connections, seconds)


def _median(key: _Key, results: list[LoadResult]) -> Cell:
    return Cell(
        *key,
        p50_ms=statistics.median(result.p50_ms for result in results),
        p99_ms=statistics.median(result.p99_ms for result in results),
        requests_per_s=statistics.median(result.requests_per_s for result in results),
    )
