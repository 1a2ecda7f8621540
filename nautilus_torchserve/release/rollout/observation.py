"""Observation of a version during its first seconds as the default version."""

import time
from typing import Any

import numpy as np

from nautilus_torchserve.release.rollout.gates import GateFailed, Limits, check_latency
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.release.rollout.workers import Counters, is_ready, processes, read_counters
from nautilus_torchserve.serving.client.client import InferenceClient, Inputs
from nautilus_torchserve.wire.errors import RequestError

REQUEST_INTERVAL_S = 0.05
CHECK_INTERVAL_S = 0.5


class ErrorBaseline:
    """Rate of 5xx responses that the server gives without the change, counted from a moment before it."""

    def __init__(self, target: Target) -> None:
        self._url = target.metrics_url
        self._began, self._first = time.monotonic(), read_counters(self._url)

    def per_second(self) -> float:
        """Return the rate since then."""
        errors = read_counters(self._url).errors_5xx - self._first.errors_5xx
        return errors / max(time.monotonic() - self._began, 1e-3)


def observe(
    target: Target,
    model: str,
    version: str,
    inputs: Inputs,
    serving_p95_ms: float | None,
    errors_per_s: float,
    limits: Limits,
) -> dict[str, Any]:
    """Send requests on the default route, and check workers and error counters.

    Parameters
    ----------
    serving_p95_ms : float or None
        Of the version before; None: no latency to compare with.
    errors_per_s : float
        5xx responses per second that the server gave before the change.

    Raises
    ------
    GateFailed
        An error, a response of another version, a worker that died, more 5xx responses or a higher latency than
        allowed.
    """
    manager = target.manager()
    first = processes(manager.versions(model)[version])
    before = read_counters(target.metrics_url)
    latencies: list[float] = []
    began, checked = time.monotonic(), 0.0
    with target.connect(model) as client:
        while (now := time.monotonic()) - began < limits.watch_s or not latencies:
            latencies.append(_request_ms(client, inputs, version))
            if now - checked > CHECK_INTERVAL_S:
                checked = now
                _check(target, model, version, first, before, errors_per_s * (now - began))
            time.sleep(REQUEST_INTERVAL_S)
    _check(target, model, version, first, before, errors_per_s * (time.monotonic() - began))
    p95_ms = float(np.percentile(latencies, 95))
    check_latency(p95_ms, serving_p95_ms, 95, limits)
    return {"requests": len(latencies), "p95_ms": p95_ms}


def _request_ms(client: InferenceClient, inputs: Inputs, version: str) -> float:
    try:
        response = client.predict(inputs)
    except RequestError as error:
        raise GateFailed(f"expected a response, got {type(error).__name__}: {error}") from error
    if response.version != version:
        raise GateFailed(f"expected {version} as the default version, got a response of {response.version}")
    return float(response.latency_ns / 1e6)


def _check(
    target: Target, model: str, version: str, first: dict[str, int], before: Counters, expected_errors: float
) -> None:
    status = target.manager().versions(model).get(version)
    if (
        status is None
        or not is_ready(status)
        or any(first.get(worker, process) != process for worker, process in processes(status).items())
    ):
        states = [worker["status"] for worker in status["workers"]] if status else "none"
        raise GateFailed(f"{model}/{version}: expected READY workers that stay alive, got {states} or a restarted one")
    errors = read_counters(target.metrics_url).errors_5xx - before.errors_5xx
    if errors > 1.5 * expected_errors:
        raise GateFailed(
            f"expected at most {1.5 * expected_errors:.1f} 5xx responses, 1.5 times the rate before, got {errors:g}"
        )
