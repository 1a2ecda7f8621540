"""Versions of the tick classifier for canaries and shadows, and a router that makes calls up without a server."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.versions import as_version
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.traffic.records import CallCounts
from nautilus_torchserve.traffic.split import Kind
from nautilus_torchserve.traffic.store import TrafficStore

INSTRUMENTS = tuple(f"I{number}.SIM" for number in range(40))
ANSWER = "return network(rows).softmax(dim=1)"
TILTED = "return (network(rows) + torch.tensor([3.0, 0.0, 0.0])).softmax(dim=1)"
"""Sure of BUY for any input."""
SOFTENED = "return (0.5 * network(rows) + torch.tensor([0.2, 0.0, 0.0])).softmax(dim=1)"
"""Less sure of everything, and sometimes of another class."""


def target_of(server: TorchServe) -> Target:
    """Return the target without its configuration, which would restore what tests register."""
    return Target(
        server.management_url,
        server.inference_url,
        server.model_store,
        server.management_token,
        server.token,
        server.metrics_url,
    )


def version_of(archive: Path, version: str, to: Path, answer: str = ANSWER, before: str = "pass") -> Path:
    """Write an archive as another version that, once it is loaded, answers otherwise, or runs a statement before."""

    def edit(name: str, content: bytes) -> bytes:
        if name != "nautilus_torchserve/inference/models/tick.py":
            return content
        loaded = f"if hasattr(self, 'golden_columns'):\n            {before}\n            {answer}\n        {ANSWER}"
        return content.decode().replace(ANSWER, loaded).encode()

    return as_version(archive, to, version, edit)


@dataclass
class Behaviour:
    """Outcome of the calls of a version."""

    fails: bool = False
    latency_ms: float = 1.0
    buy: float = 0.4


@contextmanager
def made_up_router(
    store: TrafficStore, model: str, behaviour: Mapping[str, Behaviour], leaves: bool = True
) -> Iterator[None]:
    """Run a router with 40 instruments that follows the running split and counts calls made up by ``behaviour``."""
    closed = threading.Event()
    counts = CallCounts(model, "made up")

    def work() -> None:
        while not closed.wait(0.02):
            split = store.running(model)
            if split is None or split.kind is not Kind.CANARY:
                store.heartbeat("made up", model, [] if leaves else list(behaviour))
                continue
            store.heartbeat("made up", model, [split.baseline, split.challenger])
            for instrument in INSTRUMENTS:
                version = split.version_for(instrument, 0)
                if behaviour[version].fails:
                    counts.record_failure(split.name, version)
                else:
                    outputs = {"buy": np.array([behaviour[version].buy], np.float32)}
                    counts.record_response(split.name, version, round(behaviour[version].latency_ms * 1e6), outputs)
            store.keep(counts.take())

    thread = threading.Thread(target=work, name="made-up-router")
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()
