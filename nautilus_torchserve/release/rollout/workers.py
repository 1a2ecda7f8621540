"""A version's workers as the management port shows them: loading, alive, drained."""

import time
from dataclasses import dataclass, field
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from nautilus_torchserve.release.rollout.gates import GateFailed
from nautilus_torchserve.release.rollout.target import Target
from nautilus_torchserve.serving.http_session import HttpSession
from nautilus_torchserve.serving.server.management import ManagementClient
from nautilus_torchserve.user_error import UserError

TIMEOUT_S = 5.0
POLL_S = 0.05


def processes(status: dict[str, Any]) -> dict[str, int]:
    """Return worker -> process id, for those that have one."""
    return {worker["id"]: worker["pid"] for worker in status["workers"] if worker["pid"] > 0}


def is_ready(status: dict[str, Any]) -> bool:
    """Return whether there are workers, and all of them are READY."""
    return bool(status["workers"]) and all(worker["status"] == "READY" for worker in status["workers"])


def wait_loaded(manager: ManagementClient, model: str, version: str, workers: int, within_s: float) -> None:
    """Wait until so many workers are READY.

    Raises
    ------
    GateFailed
        They are not in time, or a worker died: TorchServe would restart it again and again.
    """
    deadline = time.monotonic() + within_s
    first: dict[str, int] = {}
    while True:
        status = manager.versions(model).get(version)
        if status is None:
            raise GateFailed(
                f"{model}/{version}: expected a registered version, got none: it was unregistered while it loaded"
            )
        for worker, process in processes(status).items():
            if first.setdefault(worker, process) != process:
                raise GateFailed(
                    f"{model}/{version}: expected workers that load, got one that died (see the server's model_log.log)"
                )
        if is_ready(status) and len(status["workers"]) >= workers:
            return
        if time.monotonic() > deadline:
            states = [worker["status"] for worker in status["workers"]]
            raise GateFailed(f"{model}/{version}: expected {workers} READY workers within {within_s:g} s, got {states}")
        time.sleep(POLL_S)


def wait_registered(manager: ManagementClient, model: str, version: str, within_s: float) -> None:
    """Wait until a version is listed, or for as long as TorchServe may take to carry out a registration.

    TorchServe carries on with a request whose client has gone: a version may appear after its registration failed.
    """
    deadline = time.monotonic() + within_s
    while version not in manager.versions(model) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def wait_drained(target: Target, model: str, version: str, quiet_s: float, within_s: float) -> None:
    """Wait until a version has had no request for a while: removing it ends running and queued requests.

    The management port shows queued requests; the metrics port, where the target names it, counts all requests by the
    version's own route.

    Raises
    ------
    GateFailed
        It keeps getting requests.
    """
    manager = target.manager()
    deadline = time.monotonic() + quiet_s + within_s
    quiet_since, requests_before = time.monotonic(), _request_count(target, model, version)
    while (now := time.monotonic()) - quiet_since < quiet_s:
        status = manager.versions(model).get(version)
        if status is None or not status["workers"]:
            return
        requests = _request_count(target, model, version)
        if status["jobQueueStatus"]["pendingRequests"] or requests != requests_before:
            quiet_since, requests_before = now, requests
        if now > deadline:
            raise GateFailed(f"{model}/{version}: expected no requests for {quiet_s:g} s, got more of them")
        time.sleep(POLL_S)


def _request_count(target: Target, model: str, version: str) -> float:
    return read_counters(target.metrics_url).requests.get((model, version), 0.0)


@dataclass(frozen=True)
class Counters:
    """Counters since the server's start."""

    errors_5xx: float = 0.0
    """5xx responses, of all models."""
    requests: dict[tuple[str, str], float] = field(default_factory=dict)
    """(model, requested version) -> requests; ``default`` is the version of those that named none."""


class NoCounters(UserError):
    """The metrics port gives no counters."""


def read_counters(metrics_url: str | None) -> Counters:
    """Read the counters now (``metrics_mode=prometheus``); zeros without a URL.

    Raises
    ------
    NoCounters
    """
    if metrics_url is None:
        return Counters()
    try:
        with HttpSession() as session:
            response = session.get(f"{metrics_url}/metrics", timeout=TIMEOUT_S)
        response.raise_for_status()
    except requests.RequestException as error:
        raise NoCounters(f"{metrics_url}: expected TorchServe's metrics: {error}") from error
    errors_5xx, requests_by_version = 0.0, {}
    try:
        families = list(text_string_to_metric_families(response.text))
    except ValueError as error:
        raise NoCounters(f"{metrics_url}: expected TorchServe's metrics, got another text: {error}") from None
    for family in families:
        for sample in family.samples:
            if sample.name == "Requests5XX_total" or sample.name == "Requests5XX":
                errors_5xx += sample.value
            elif sample.name == "ts_inference_requests_total":
                requests_by_version[sample.labels["model_name"], sample.labels["model_version"]] = sample.value
    return Counters(errors_5xx, requests_by_version)
