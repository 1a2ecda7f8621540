"""The measurement: every server, every request, every number of connections, in rounds."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.in_process import FORWARD, MAR, ONE, bare_forward, measure
from benchmarks.load import Generator, Load, LoadResult
from benchmarks.questions import Question, Server, check, make_questions
from benchmarks.servers import NAMES, OURS, start_all, unpack_network
from serving.client import InferenceClient, connect

CONNECTIONS = (1, 8, 64)
_WARM_UP_CONNECTIONS = 8
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

    @property
    def steps(self) -> int:
        """How often `compare` calls its ``step``."""
        questions = len(make_questions())
        loads = len(NAMES) * questions * len(CONNECTIONS)
        return 1 + len(NAMES) * questions + self.rounds * (loads + 1)


@dataclass(frozen=True)
class Cell:
    """One server under one load."""

    server: str
    request: str
    connections: int
    rows: int
    """Of one request."""
    p50_ms: float
    p99_ms: float
    requests_per_s: float

    def as_dict(self) -> dict[str, Any]:
        """For the report; with ``rows_per_s``."""
        return {**asdict(self), "rows_per_s": self.requests_per_s * self.rows}


def compare(archive: Path, generator: Generator, plan: Plan, work: Path, step: Step) -> list[Cell]:
    """Start all servers, check their answers, load one after the other.

    Servers alternate within a round, so that a machine that grows slower does so for all.

    Parameters
    ----------
    archive : Path
        Our ``tick.mar``.
    work : Path
        An empty folder.
    step : callable
        Called with what is about to be done, `Plan.steps` times.

    Raises
    ------
    LoadFailed, WrongAnswer
        A measurement failed.
    StartFailed, NoJava, ManagementError, ServerFailed
        A server did not start.
    """
    network = work / "network"
    questions = make_questions()
    measured: dict[_Key, list[LoadResult]] = defaultdict(list)
    step("starting the servers")
    with ExitStack() as stack:
        client = stack.enter_context(connect(f"mar:{archive}", OURS))
        unpack_network(archive, network)
        servers = stack.enter_context(start_all(archive, network, work))
        for server, question in product(servers, questions):
            step(f"{server.name}: {question.name}: right answer, warm-up")
            check(server, question, _expected(client, question))
            if plan.warm_up:
                generator.run(_load(server, question, _WARM_UP_CONNECTIONS, plan.seconds))
        for number in range(1, plan.rounds + 1):
            for question, connections, server in product(questions, CONNECTIONS, servers):
                step(f"round {number}: {question.name}, {connections} at a time: {server.name}")
                key = (server.name, question.name, connections, len(question.rows))
                measured[key].append(generator.run(_load(server, question, connections, plan.seconds)))
            step(f"round {number}: in process")
            for key, result in _in_process(client, network, questions, plan.seconds / 4):
                measured[key].append(result)
    return [_median(key, results) for key, results in measured.items()]


def _expected(client: InferenceClient, question: Question) -> NDArray[np.float32]:
    return np.stack(list(client.predict(question.rows).outputs.values()), axis=1)  # (n, 3)


def _load(server: Server, question: Question, connections: int, seconds: float) -> Load:
    return Load(server.url, {**server.headers, **question.headers}, question.body, connections, seconds)


def _in_process(
    client: InferenceClient, network: Path, questions: list[Question], seconds: float
) -> Iterator[tuple[_Key, LoadResult]]:
    """Both in turn, for each number of rows once: the form of a request means nothing here."""
    device = client.metadata["device"]
    for rows in {len(question.rows): question.rows for question in questions}.values():
        request = ONE if len(rows) == 1 else f"{len(rows):,} rows"
        yield (FORWARD, request, 1, len(rows)), measure(bare_forward(network, rows, device), seconds)
        yield (MAR, request, 1, len(rows)), measure(partial(client.predict, rows), seconds)


def _median(key: _Key, results: list[LoadResult]) -> Cell:
    return Cell(
        *key,
        p50_ms=statistics.median(result.p50_ms for result in results),
        p99_ms=statistics.median(result.p99_ms for result in results),
        requests_per_s=statistics.median(result.requests_per_s for result in results),
    )
