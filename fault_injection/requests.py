"""Malformed requests among good ones, over many connections to a real server; every good answer is compared.

Client processes with threads send the cases of `fault_injection.grammar`, each thread over a keep-alive connection
of its own. A good request must be answered with exactly the bits of the archive in process, whatever is sent beside
it; a malformed one must be refused for itself.
"""

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from random import Random
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil

from fault_injection.drafts import Draft, encoded
from fault_injection.grammar import KINDS, make_case
from fault_injection.judging import (
    DIFFERS,
    FOREIGN,
    FRONT_ERROR,
    FRONT_LEAKS,
    HARMED,
    HUNG,
    LEAKS,
    LONG_ERROR,
    SERVER_ERROR,
    judge,
    shown,
)
from fault_injection.raw_http import NoAnswer, RawConnection, Response, TimedOut
from fault_injection.samples import Subject
from fault_injection.verdict import Failure, Findings
from nautilus_torchserve.serving.server.torchserve import TorchServe

DEATHS = "worker deaths"
MUST_BE_ZERO = (HARMED, DIFFERS, FOREIGN, SERVER_ERROR, LEAKS, LONG_ERROR, HUNG, DEATHS)
PROCESSES, THREADS = 2, 20
_TIMEOUT_S, _FRAMING_TIMEOUT_S = 15.0, 0.25
"""Longest wait for an answer; for one to a request that HTTP may take for an unfinished one (seconds)."""
_MOST_SUSPECTS = 40


@dataclass(frozen=True)
class Plan:
    """The requests to send."""

    seed: int
    count: int
    time_limit_s: float
    kind: str | None = None
    """Only this kind among malformed requests; None: all."""
    indexes: tuple[int, ...] = ()
    """Only these cases, again and again; empty: all."""


@dataclass
class _Tally:
    """Counts and failures of one client process."""

    counts: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[tuple[str, str, str, int, bool, float, float]] = field(default_factory=list)
    """Count, kind, what, index, whether batched, begin and end."""
    malformed: list[tuple[float, float, int, bool]] = field(default_factory=list)
    """Begin, end, index, whether batched."""
    good_s: list[float] = field(default_factory=list)


def attack_requests(server: TorchServe, subject: Subject, plan: Plan) -> Findings:
    """Send all cases and return what came of them."""
    context = multiprocessing.get_context("fork")  # while this process has no threads; spawned ones import for seconds
    parts = urlsplit(server.inference_url)
    target = (parts.hostname or "", parts.port or 80), server.token
    started, pipes = [], []
    end = time.time() + plan.time_limit_s
    began = time.monotonic()
    for number in range(PROCESSES):
        pipe, sender = context.Pipe(duplex=False)
        process = context.Process(target=_attack, args=(subject, plan, target, number, end, sender), daemon=True)
        process.start()
        sender.close()
        started.append(process)
        pipes.append(pipe)
    with _Workers(server.pid) as watch:
        tallies = [_received(pipe, process) for pipe, process in zip(pipes, started, strict=True)]
        for process in started:
            process.join()
    return _findings(tallies, plan, watch, time.monotonic() - began)


def _received(pipe: Connection, process: Any) -> _Tally:
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError(f"a client process of the attack ended with status {process.exitcode}") from None


def _attack(
    subject: Subject,
    plan: Plan,
    target: tuple[tuple[str, int], str | None],
    number: int,
    end: float,
    sender: Connection,
) -> None:
    """Send this process's share of the cases."""
    tally = _Tally()
    numbers = plan.indexes * 20 or range(number, plan.count, PROCESSES)
    cases = _Cases(iter(numbers), end)
    threads = [threading.Thread(target=_send_all, args=(subject, plan, target, cases, tally)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sender.send(tally)


class _Cases:
    """Indexes that several threads take turns with."""

    def __init__(self, numbers: Iterator[int], end: float) -> None:
        self._numbers, self._end = numbers, end
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[int]:
        while time.time() < self._end:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                return
            yield number


def _send_all(
    subject: Subject, plan: Plan, target: tuple[tuple[str, int], str | None], cases: _Cases, tally: _Tally
) -> None:
    address, token = target
    connection = RawConnection(address, _TIMEOUT_S)
    host = f"{address[0]}:{address[1]}"
    for index in cases:
        kind, draft, batched = _case(subject, plan, index)
        model = subject.batched if batched else subject.model
        request_id = f"attack-{plan.seed}-{index}"
        data = encoded(draft, model, host, token, request_id if draft.sample is not None or index % 2 else "")
        began = time.monotonic()
        response, seen = _exchange(connection, address, draft, data, subject, request_id)
        ended = time.monotonic()
        if draft.sample is None:
            tally.malformed.append((began, ended, index, batched))
        else:
            tally.good_s.append(ended - began)
        tally.counts["malformed" if draft.sample is None else "good"] += 1
        if response is not None:
            tally.statuses[response.status] += 1
        tally.failures += [(count, kind, what, index, batched, began, ended) for count, what in seen]
    connection.close()


def _case(subject: Subject, plan: Plan, index: int) -> tuple[str, Draft, bool]:
    kind, draft, batched = make_case(subject, plan.seed, index)
    if plan.kind is None or kind == "good":
        return kind, draft, batched
    return plan.kind, KINDS[plan.kind][1](subject, Random(plan.seed << 32 | index)), batched


def _exchange(
    connection: RawConnection, address: tuple[str, int], draft: Draft, data: bytes, subject: Subject, request_id: str
) -> tuple[Response | None, list[tuple[str, str]]]:
    """Send one request of a draft, read what comes back, and judge it."""
    if draft.framing:
        return _exchange_once(address, draft, data, subject, request_id)
    try:
        if draft.delivery == "pieces":
            step = max(1, len(data) // 3)
            for at in range(0, len(data), step):
                connection.send(data[at : at + step])
        else:
            connection.send(data)
        response = connection.read()
    except NoAnswer as error:
        connection.close()
        if draft.sample is not None:
            return None, [(HARMED, f"no answer: {error}")]
        return None, [(HUNG, f"{error}")] if isinstance(error, TimedOut) else []
    return response, judge(draft, response, subject, request_id, data)


def _exchange_once(
    address: tuple[str, int], draft: Draft, data: bytes, subject: Subject, request_id: str
) -> tuple[Response | None, list[tuple[str, str]]]:
    """Exchange on a connection of its own, for requests after which nothing can be read from it any more."""
    connection = RawConnection(address, _FRAMING_TIMEOUT_S if draft.delivery == "whole" else _TIMEOUT_S)
    response, seen = None, []
    with suppress(NoAnswer):
        if draft.delivery == "half":
            connection.send(data[: max(1, len(data) * 2 // 3)])
        elif draft.delivery == "abort":
            connection.send(data)
        else:
            connection.send(data * (2 if draft.delivery == "twice" else 1))
            response = connection.read(draft.method == b"HEAD")
            seen = judge(draft, response, subject, request_id, data)
            if draft.delivery == "twice" and response.status == 200:
                second = connection.read()
                seen += judge(draft, second, subject, request_id, data)
    connection.close(abort=draft.delivery == "abort")
    return response, seen


class _Workers:
    """Counts the deaths of a server's workers and their memory while the block runs."""

    def __init__(self, java: int) -> None:
        self.deaths = 0
        self.peak_bytes = 0
        self._java = psutil.Process(java)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_Workers":
        self._seen = self._workers()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            alive = self._workers()
            self.deaths += len(self._seen - alive)
            self._seen = alive

    def _workers(self) -> set[int]:
        alive = set()
        with suppress(psutil.Error):
            for child in self._java.children():
                with suppress(psutil.Error):
                    if child.status() != psutil.STATUS_ZOMBIE and "python" in child.name():
                        alive.add(child.pid)
                        self.peak_bytes = max(self.peak_bytes, child.memory_info().rss)
        return alive


def _findings(tallies: Sequence[_Tally], plan: Plan, workers: _Workers, took_s: float) -> Findings:
    findings = Findings("requests", MUST_BE_ZERO)
    counts = sum((tally.counts for tally in tallies), Counter[str]())
    statuses = sum((tally.statuses for tally in tallies), Counter[int]())
    good_ms = np.array([seconds for tally in tallies for seconds in tally.good_s] or [0.0]) * 1000
    malformed = [response for tally in tallies for response in tally.malformed]
    number = sum(counts.values())
    findings.counts = {
        "requests": number,
        "good": counts["good"],
        "malformed": counts["malformed"],
        **findings.counts,
        FRONT_ERROR: 0,
        FRONT_LEAKS: 0,
        **{f"answers {status}": statuses[status] for status in sorted(statuses)},
        "longest good request (ms)": float(good_ms.max()),
        "good requests p99 (ms)": float(np.percentile(good_ms, 99)),
        "largest worker (MB)": workers.peak_bytes / 1e6,
        "requests/s": number / took_s,
        "seconds": took_s,
    }
    for tally in tallies:
        for count, kind, what, index, batched, began, ended in tally.failures:
            suspects = (
                []
                if count != HARMED
                else [
                    other
                    for first, last, other, together in malformed
                    if together == batched and first <= ended and last >= began
                ]
            )
            indexes = ",".join(map(str, [index, *suspects[:_MOST_SUSPECTS]]))
            only = "" if plan.kind is None else f" --kind '{plan.kind}'"
            findings.fail(Failure(count, kind, what[:400], f"requests --seed {plan.seed}{only} --index {indexes}"))
    findings.counts[DEATHS] = workers.deaths
    return findings


def show_cases(server: TorchServe, subject: Subject, plan: Plan) -> Iterator[str]:
    """Send the plan's cases one by one, and yield a line about each case and its response."""
    parts = urlsplit(server.inference_url)
    address = parts.hostname or "", parts.port or 80
    for index in plan.indexes:
        kind, draft, batched = _case(subject, plan, index)
        model = subject.batched if batched else subject.model
        data = encoded(draft, model, f"{address[0]}:{address[1]}", server.token, f"attack-{plan.seed}-{index}")
        response, seen = _exchange_once(
            address, replace(draft, framing=True), data, subject, f"attack-{plan.seed}-{index}"
        )
        yield f"{index}: {kind}, {draft.delivery}, {len(data)} bytes to {model}: {data[:300]!r}"
        yield f"    {'no answer' if response is None else shown(response)}"
        yield from (f"    {count}: {what}" for count, what in seen)
