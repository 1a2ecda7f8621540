"""A version's workers from outside: loading, alive, asked nothing any more."""

import time
from typing import Any

from nautilus_torchserve.release.rollout.counters import read_counters
from nautilus_torchserve.release.rollout.gates import GateFailed
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.serving.server.management import ManagementClient

POLL_S = 0.05


def processes(status: dict[str, Any]) -> dict[str, int]:
    """Worker -> its process, of those that have one."""
    return {worker["id"]: worker["pid"] for worker in status["workers"] if worker["pid"] > 0}


def is_ready(status: dict[str, Any]) -> bool:
    """Whether there are workers, and all of them are READY."""
    return bool(status["workers"]) and all(worker["status"] == "READY" for worker in status["workers"])


def wait_loaded(manager: ManagementClient, model: str, version: str, workers: int, within_s: float) -> None:
    """Wait until so many workers are READY.

    Raises
    ------
    GateFailed
        Not in time; or a worker died: TorchServe would try it again and again.
    """
    deadline = time.monotonic() + within_s
    first: dict[str, int] = {}
    while True:
        status = manager.versions(model).get(version)
        if status is None:
            raise GateFailed(f"{model}/{version}: a registered version expected, was gone while it loaded")
        for worker, process in processes(status).items():
            if first.setdefault(worker, process) != process:
                raise GateFailed(
                    f"{model}/{version}: workers that load expected, one died (the server's model_log.log says why)"
                )
        if is_ready(status) and len(status["workers"]) >= workers:
            return
        if time.monotonic() > deadline:
            states = [worker["status"] for worker in status["workers"]]
            raise GateFailed(f"{model}/{version}: {workers} workers READY within {within_s:g} s expected, was {states}")
        time.sleep(POLL_S)


def wait_registered(manager: ManagementClient, model: str, version: str, within_s: float) -> None:
    """Wait until a version is listed, or for as long as TorchServe may take to carry out a registration.

    TorchServe goes on with a request whose client has gone: a version may appear after its registration was given up.
    """
    deadline = time.monotonic() + within_s
    while version not in manager.versions(model) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def wait_drained(target: Target, model: str, version: str, quiet_s: float, within_s: float) -> None:
    """Wait until a version has been asked nothing for a while: removing it ends what runs and what waits.

    Waiting requests are seen at the management port; those that came at all, by the version's own route, at the
    metrics port where the target names it.

    Raises
    ------
    GateFailed
        Somebody goes on asking it.
    """
    manager = target.manager()
    deadline = time.monotonic() + quiet_s + within_s
    quiet_since, seen = time.monotonic(), _asked(target, model, version)
    while (now := time.monotonic()) - quiet_since < quiet_s:
        status = manager.versions(model).get(version)
        if status is None or not status["workers"]:
            return
        asked = _asked(target, model, version)
        if status["jobQueueStatus"]["pendingRequests"] or asked != seen:
            quiet_since, seen = now, asked
        if now > deadline:
            raise GateFailed(f"{model}/{version}: no requests for {quiet_s:g} s expected, somebody goes on asking it")
        time.sleep(POLL_S)


def _asked(target: Target, model: str, version: str) -> float:
    if target.metrics_url is None:
        return 0.0
    return read_counters(target.metrics_url).requests.get((model, version), 0.0)
