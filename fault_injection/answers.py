"""Responses of a misbehaving server: to the client, and to a strategy that trades on them.

The client must raise a `RequestError` in a short sentence or return exactly the model's bits; the strategy must not
order on anything else, whether it comes over the port or on the bus.
"""

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fault_injection.garbage_predictions import attack_strategy
from fault_injection.misbehaving_server import MisbehavingServer, Piece, Request
from fault_injection.replies import (
    GARBAGE,
    NAMES,
    REPLIES,
    CorrectResponse,
    damaged_description,
    reply,
    reply_kind,
    whole,
)
from fault_injection.verdict import Failure, Findings
from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.wire.body import FLOAT32, bytes_to_rows
from nautilus_torchserve.wire.errors import DeadlinePassed, RequestError
from nautilus_torchserve.wire.headers import CLIENT_REQUEST_ID

ORDERS = "orders on garbage"
TRACEBACKS = "exceptions that are no RequestError"
LOG_TRACEBACKS = "tracebacks in live runs"
WRONG_BITS = "answers with wrong bits"
ACCEPTED = "garbage taken for an answer"
LONG_MESSAGES = "messages of more than 1,000 characters"
LATE = "calls that outlast their time limit by five seconds"
MEMORY = "peak memory beyond 100 MB above the start"
STAYS_SHUT = "live runs on garbage whose breaker never opened"
REFUSED = "right answers refused"
MUST_BE_ZERO = (
    ORDERS,
    TRACEBACKS,
    LOG_TRACEBACKS,
    WRONG_BITS,
    ACCEPTED,
    REFUSED,
    LONG_MESSAGES,
    LATE,
    MEMORY,
    STAYS_SHUT,
)
TIMEOUT_S = 0.25
_PATIENCE_S = 5.0
"""Beyond the time limit, for a machine that is busy with other things."""
_MOST_MEMORY_KB = 100_000
_DISTURBING = ("second answer", "late")
"""Kinds of which something may be left on the connection for the next request to find."""
PREDICTIONS = 300
"""On the bus."""
_DESCRIPTIONS = 0.2
"""Share of the answers that describe the model."""


class GeneratedServer(MisbehavingServer):
    """Sends the reply of an index.

    Parameters
    ----------
    metadata : mapping
        The model's metadata.
    answer : callable
        Body of a request -> the correct table.
    seed : int
        Seed of the replies.
    """

    def __init__(self, metadata: Mapping[str, Any], answer: Callable[[bytes], np.ndarray], seed: int) -> None:
        super().__init__()
        self.metadata, self.seed = metadata, seed
        self.description: bytes | None = None
        """Sent instead of ``metadata``; None: that."""
        self.describing: str | None = None
        """Kind of reply to a request for the metadata; None: a correct one."""
        self.index = 0
        """Index of the next reply."""
        self.names: tuple[str, ...] = NAMES
        self.advances = False
        """Whether each reply is the next index's; else the attack counts."""
        self.replies: dict[str, int] = {}
        """Kind -> how many were sent."""
        self._answer, self._lock = answer, threading.Lock()

    def reply(self, request: Request) -> Iterator[Piece]:
        """Return the pieces of the next reply."""
        request_id = request.headers.get(CLIENT_REQUEST_ID, "")
        if request.headers.get("describe") == "True":
            correct = CorrectResponse(np.zeros((1, 3), np.float32), self.metadata, request_id)
            if self.describing is not None:
                return reply(self.describing, correct, self.seed, self.index)
            text = self.description or json.dumps(self.metadata).encode()
            return whole(correct, text, changes={"content-type": "application/json"})
        with self._lock:
            index = self.index
            kind = reply_kind(self.seed, index, self.names)
            self.replies[kind] = self.replies.get(kind, 0) + 1
            self.index += self.advances
        return reply(kind, CorrectResponse(self._answer(request.body), self.metadata, request_id), self.seed, index)


def attack_answers(
    archive: Path, seed: int, count: int, time_limit_s: float, indexes: tuple[int, ...] = (), live_runs: int = 2
) -> Findings:
    """Send a client ``count`` generated replies, and trade on garbage in live replays."""
    findings = Findings("answers", MUST_BE_ZERO)
    end = time.monotonic() + time_limit_s
    began = time.monotonic()
    with connect(f"mar:{archive}", "tick") as oracle:
        shape, metadata = _shape(oracle), oracle.metadata
        names = metadata.outputs

        def answer(body: bytes) -> np.ndarray:
            try:
                outputs = oracle.predict(bytes_to_rows(body, shape)).outputs
            except RequestError:
                return np.zeros((1, len(names)), np.float32)
            return np.stack([outputs[name] for name in names], axis=1)

        with GeneratedServer(metadata.document, answer, seed) as server:
            requested = _request_each(server, oracle, findings, seed, indexes or range(count), end)
            if not indexes:
                for number in range(live_runs):
                    _trade(server, findings, seed + number)
    if not indexes:
        orders = attack_strategy(seed, PREDICTIONS)
        findings.counts["garbage predictions on the bus"] = PREDICTIONS
        if orders:
            findings.counts[ORDERS] += orders - 1
            findings.fail(
                Failure(ORDERS, "predictions on the bus", f"{orders} orders", f"answers --seed {seed} --count 0")
            )
    findings.counts = {
        "answers": requested,
        **findings.counts,
        "seconds": time.monotonic() - began,
        **{f"replies: {kind}": number for kind, number in sorted(server.replies.items())},
    }
    return findings


def _shape(client: InferenceClient) -> tuple[int, ...]:
    return client.metadata.feature_schema.row_shape


def _request_each(
    server: GeneratedServer, oracle: InferenceClient, findings: Findings, seed: int, indexes: Any, end: float
) -> int:
    """Request each index, over one connection while it lasts; return how many were requested."""
    pool = np.random.default_rng(seed).normal(0, 1, (997, *_shape(oracle))).astype(FLOAT32)
    client = connect(server.url, "tick", timeout_s=TIMEOUT_S)
    oracle.predict(pool[:3])  # what a first call allocates is not the answers'
    memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    requested, before = 0, ""
    for index in indexes:
        if time.monotonic() > end:
            break
        requested += 1
        server.index = index
        random = Random(f"{seed} {index}")
        began = time.monotonic()
        kind = reply_kind(seed, index)
        try:
            if random.random() < _DESCRIPTIONS:
                kind = "description"
                _describe(server, random)
            else:
                rows = pool[np.arange(index, index + 1 + index % 3) % len(pool)]
                _check(client.predict(rows).outputs, oracle.predict(rows).outputs, kind, findings, seed, index)
        except RequestError as error:
            if kind == "right" and before not in _DISTURBING and not isinstance(error, DeadlinePassed):
                _fail(findings, REFUSED, kind, f"{error}", seed, index)
            if len(str(error)) > 1000:
                _fail(findings, LONG_MESSAGES, kind, f"{len(str(error))} characters: {error}", seed, index)
        except Exception as error:  # any other is what this looks for
            _fail(findings, TRACEBACKS, kind, f"{type(error).__name__}: {error}", seed, index)
        before = before if kind == "description" else kind
        took_s = time.monotonic() - began
        if took_s > TIMEOUT_S + _PATIENCE_S:
            _fail(findings, LATE, kind, f"{took_s:.2f} s, {TIMEOUT_S:g} s were allowed", seed, index)
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kb
        if grown_kb > _MOST_MEMORY_KB:
            _fail(findings, MEMORY, kind, f"{grown_kb / 1000:.0f} MB", seed, index)
            memory_kb += grown_kb
    client.close()
    return requested


def _describe(server: GeneratedServer, random: Random) -> None:
    """Connect to a model that describes itself wrongly, or not at all."""
    if random.random() < 0.3:
        server.describing = random.choice([name for name in REPLIES if name not in ("right", "values", "length")])
    else:
        server.description = damaged_description(server.metadata, random)
    try:
        connect(server.url, "tick", timeout_s=TIMEOUT_S).close()
    finally:
        server.describing = server.description = None


def _check(
    got: dict[str, np.ndarray], expected: dict[str, np.ndarray], kind: str, findings: Findings, seed: int, index: int
) -> None:
    if not REPLIES[kind][1]:
        _fail(findings, ACCEPTED, kind, f"{ {name: values[:2].tolist() for name, values in got.items()} }", seed, index)
    elif any(got[name].tobytes() != values.tobytes() for name, values in expected.items()):
        _fail(findings, WRONG_BITS, kind, f"{got} instead of {expected}", seed, index)


def _fail(findings: Findings, count: str, kind: str, what: str, seed: int, index: int) -> None:
    findings.fail(Failure(count, kind, what[:400], f"answers --seed {seed} --index {index}"))


_LIVE = """[node]
settle_s = 0.1
[market]
kind = "replay"
simulate = 1500
seed = {seed}
speed = 200.0
warm_up = 150
[execution]
kind = "sandbox"
balance = "100000 USD"
[model]
kind = "tick"
[model.actor]
url = "{url}"
instrument_id = "SIMUSD.SIM"
warm_up_ns = "1h"
timeout_s = 0.3
[model.actor.live]
deadline_ns = "5s"
max_rows = 4
probe_after_ns = "1ms"
max_probe_after_ns = "2ms"
[strategy]
trade_size = "0.01"
max_position = "0.01"
min_probability = 0.34
max_age_ns = "1h"
cooldown_ns = "1ns"
on_failure = "hold"
[risk]
max_daily_loss = "100000"
"""


def _trade(server: GeneratedServer, findings: Findings, seed: int) -> None:
    """Trade live on a replay with a server that sends nothing but garbage."""
    server.names, server.advances, server.index = GARBAGE, True, 0
    before = sum(server.replies.values())
    with TemporaryDirectory(prefix="attack-live-") as folder:
        config = Path(folder) / "live.toml"
        config.write_text(_LIVE.format(url=server.url, seed=seed))
        command = [sys.executable, str(Path(__file__).parent.parent / "scripts" / "live.py"), str(config), "--json"]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=120)
    kind, reproduce = "live replay on garbage", f"answers --seed {seed} --count 0 --live-runs 1"
    replies = sum(server.replies.values()) - before
    findings.counts["answers in live runs"] = findings.counts.get("answers in live runs", 0) + replies
    lines = result.stdout.strip().splitlines()
    summary: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    if "Traceback (most recent call last)" in result.stderr or not summary:
        at = result.stderr.find("Traceback (most recent call last)")
        findings.fail(Failure(LOG_TRACEBACKS, kind, result.stderr[at:][-600:], reproduce))
    if summary.get("orders"):
        findings.fail(Failure(ORDERS, kind, f"{summary['orders']} orders after {replies} garbage replies", reproduce))
    if summary and "open" not in result.stderr.lower():
        findings.fail(Failure(STAYS_SHUT, kind, f"{replies} garbage replies", reproduce))
