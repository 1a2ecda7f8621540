"""TorchServe's counters, read from its metrics port."""

from dataclasses import dataclass, field

import requests
from prometheus_client.parser import text_string_to_metric_families

from nautilus_torchserve.serving.http_session import HttpSession
from nautilus_torchserve.user_error import UserError

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Counters:
    """Counters since the server's start."""

    errors_5xx: float = 0.0
    """5xx responses, of all models."""
    requests: dict[tuple[str, str], float] = field(default_factory=dict)
    """(model, requested version) -> requests; ``default`` is the version of those that named none."""


class NoCounters(UserError):
    """The metrics port gives no counters."""


def read_counters(metrics_url: str) -> Counters:
    """Read the counters now (``metrics_mode=prometheus``).

    Raises
    ------
    NoCounters
    """
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
