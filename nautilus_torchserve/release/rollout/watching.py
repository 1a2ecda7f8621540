"""The first seconds of a version as the default one."""

import time
from typing import Any

import numpy as np

from nautilus_torchserve.release.rollout.counters import Counters, read_counters
from nautilus_torchserve.release.rollout.gates import GateFailed
from nautilus_torchserve.release.rollout.latency_gate import check_latency
from nautilus_torchserve.release.rollout.limits import Limits
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.workers import is_ready, processes
from nautilus_torchserve.serving.client.inputs import Inputs
from nautilus_torchserve.wire.errors import RequestError

ASK_EVERY_S = 0.05
LOOK_EVERY_S = 0.5


class ErrorsBefore:
    """How many answers 5xx the server gives anyway, counted from a moment before the change on."""

    def __init__(self, target: Target) -> None:
        self._url = target.metrics_url
        self._began, self._first = time.monotonic(), self._read()

    def per_second(self) -> float:
        """Since then."""
        return (self._read().errors_5xx - self._first.errors_5xx) / max(time.monotonic() - self._began, 1e-3)

    def _read(self) -> Counters:
        return Counters() if self._url is None else read_counters(self._url)


def watch(
    target: Target,
    model: str,
    version: str,
    asked: Inputs,
    serving_p95_ms: float | None,
    errors_per_s: float,
    limits: Limits,
) -> dict[str, Any]:
    """Ask the default route again and again, and look at workers and error counters.

    Parameters
    ----------
    serving_p95_ms : float or None
        Of the version before; None: no latency to hold it against.
    errors_per_s : float
        Answers 5xx that the server gave anyway, per second.

    Raises
    ------
    GateFailed
        An error, an answer of another version, a worker that died, more errors 5xx or more latency than allowed.
    """
    manager = target.manager()
    first = processes(manager.versions(model)[version])
    before = Counters() if target.metrics_url is None else read_counters(target.metrics_url)
    latencies: list[float] = []
    began, looked = time.monotonic(), 0.0
    with target.connect(model) as client:
        while (now := time.monotonic()) - began < limits.watch_s or not latencies:
            latencies.append(_ask(client, asked, version))
            if now - looked > LOOK_EVERY_S:
                looked = now
                _look(target, model, version, first, before, errors_per_s * (now - began), limits)
            time.sleep(ASK_EVERY_S)
    _look(target, model, version, first, before, errors_per_s * (time.monotonic() - began), limits)
    p95_ms = float(np.percentile(latencies, 95))
    check_latency(p95_ms, serving_p95_ms, 95, limits)
    return {"requests": len(latencies), "p95_ms": p95_ms}


def _ask(client: Any, asked: Inputs, version: str) -> float:
    try:
        answer = client.predict(asked)
    except RequestError as error:
        raise GateFailed(f"an answer expected, was {type(error).__name__}: {error}") from error
    if answer.version != version:
        raise GateFailed(f"version {version} as the default one expected, {answer.version} answered")
    return float(answer.latency_ns / 1e6)


def _look(
    target: Target, model: str, version: str, first: dict[str, int], before: Counters, anyway: float, limits: Limits
) -> None:
    status = target.manager().versions(model).get(version)
    if (
        status is None
        or not is_ready(status)
        or any(first.get(worker, process) != process for worker, process in processes(status).items())
    ):
        states = [worker["status"] for worker in status["workers"]] if status else "gone"
        raise GateFailed(f"{model}/{version}: READY workers that stay alive expected, was {states} or one started anew")
    if target.metrics_url is not None:
        errors = read_counters(target.metrics_url).errors_5xx - before.errors_5xx
        if errors > limits.errors_allowed + 1.5 * anyway:
            raise GateFailed(
                f"at most {limits.errors_allowed} answers 5xx beyond the {anyway:.1f} that come anyway expected, "
                f"was {errors:g}"
            )
