"""The latency of a new version against the serving one's, both asked the same under the same small load."""

import time
from typing import Any

import numpy as np

from nautilus_torchserve.release.rollout.gates import GateFailed
from nautilus_torchserve.release.rollout.limits import Limits
from nautilus_torchserve.serving.client.client import InferenceClient
from nautilus_torchserve.serving.client.inputs import Inputs

PERCENTILES = (50, 95)


def one_input(inputs: Inputs) -> Inputs:
    """The first input alone, as strategies ask."""
    return inputs[:1]


def compare_latency(
    new: InferenceClient, serving: InferenceClient | None, asked: Inputs, limits: Limits
) -> dict[str, Any]:
    """Ask both in turns, so that whatever else the machine does falls on both.

    Returns
    -------
    dict
        ``new_p50_ms``, ``new_p95_ms`` and with a serving version ``serving_p50_ms``, ``serving_p95_ms``.

    Raises
    ------
    GateFailed
        The new one is slower than allowed.
    RequestError
        One of them gives no answer.
    """
    clients = {"new": new} if serving is None else {"new": new, "serving": serving}
    taken: dict[str, list[float]] = {name: [] for name in clients}
    for client in clients.values():  # the first request of a connection, and of a worker, is not like the others
        client.predict(asked)
    for _ in range(limits.latency_requests):
        for name, client in clients.items():
            taken[name].append(_latency_ms(client, asked))
    found = {
        f"{name}_p{percentile}_ms": float(np.percentile(latencies, percentile))
        for name, latencies in taken.items()
        for percentile in PERCENTILES
    }
    check_latency(found["new_p95_ms"], None, 95, limits)
    for percentile in PERCENTILES:
        check_latency(found[f"new_p{percentile}_ms"], found.get(f"serving_p{percentile}_ms"), percentile, limits)
    return found


def check_latency(new_ms: float, serving_ms: float | None, percentile: int, limits: Limits) -> None:
    """Raise `GateFailed` when a percentile is above what `limits` allow, given the serving version's."""
    if serving_ms is None:
        if limits.latency_most_ms is not None and new_ms > limits.latency_most_ms:
            raise GateFailed(f"p{percentile} of at most {limits.latency_most_ms:g} ms expected, was {new_ms:.2f} ms")
    elif new_ms > (allowed := limits.latency_allowed_ms(serving_ms)):
        raise GateFailed(
            f"p{percentile} of at most {allowed:.2f} ms expected (the serving version's {serving_ms:.2f} ms x "
            f"{limits.latency_ratio:g} + {limits.latency_add_ms:g} ms), was {new_ms:.2f} ms"
        )


def _latency_ms(client: InferenceClient, asked: Inputs) -> float:
    began = time.perf_counter()
    client.predict(asked)
    return (time.perf_counter() - began) * 1000
