"""Gates of a new version, before and after it becomes the default version: the limits, and the latency gate."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.inference.model_files import GOLDEN, BadArchive, Golden, parse_golden
from nautilus_torchserve.serving.client.archive_file import open_archive
from nautilus_torchserve.serving.client.client import InferenceClient, Inputs, PredictionResponse
from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.news_windows import NewsWindow

PERCENTILES = (50, 95)


class GateFailed(UserError):
    """A version failed a gate; the message gives what was expected and what was measured."""


@dataclass(frozen=True)
class Limits:
    """Limits of one rollout. Latencies are those of the rollout's own requests, as a client sees them."""

    ready_within_s: float = 120.0
    """Time that its workers may take to load, seconds."""
    latency_requests: int = 200
    """Requests to each version, alternating, to compare their latencies; 0: not compared."""
    latency_ratio: float = 1.5
    """Largest median and 95th percentile as multiples of the serving version's, ..."""
    latency_add_ms: float = 2.0
    """... plus this, milliseconds."""
    latency_most_ms: float | None = None
    """Largest 95th percentile, milliseconds; the only latency limit of a model's first version."""
    watch_s: float = 10.0
    """Time that errors and latency are observed once it is the default version, seconds; 0: not at all. Then
    the whole server may give no more 5xx responses than 1.5 times what it gave before the switch."""
    drain_s: float | None = None
    """Time that a version must have had no request before it is unregistered, seconds. None: its response timeout,
    since TorchServe does not show running requests and ends them only then."""
    keep: int = 1
    """Earlier default versions that stay loaded, for a rollback in milliseconds."""

    def latency_allowed_ms(self, serving_ms: float) -> float:
        """Return the largest percentile allowed, given the serving version's."""
        return serving_ms * self.latency_ratio + self.latency_add_ms


def compare_latency(
    new: InferenceClient, serving: InferenceClient | None, inputs: Inputs, limits: Limits
) -> dict[str, Any]:
    """Send both versions the same requests, alternating, so that other load on the machine falls on both.

    Returns
    -------
    dict
        ``new_p50_ms``, ``new_p95_ms`` and with a serving version ``serving_p50_ms``, ``serving_p95_ms``.

    Raises
    ------
    GateFailed
        The new version is slower than allowed.
    RequestError
        One of them gives no response.
    """
    clients = {"new": new} if serving is None else {"new": new, "serving": serving}
    latencies: dict[str, list[float]] = {name: [] for name in clients}
    for client in clients.values():  # the first request of a connection, and of a worker, is slower
        client.predict(inputs)
    for _ in range(limits.latency_requests):
        for name, client in clients.items():
            latencies[name].append(client.predict(inputs).latency_ns / 1e6)
    percentiles = {
        f"{name}_p{percentile}_ms": float(np.percentile(values, percentile))
        for name, values in latencies.items()
        for percentile in PERCENTILES
    }
    check_latency(percentiles["new_p95_ms"], None, 95, limits)
    for percentile in PERCENTILES:
        serving_ms = percentiles.get(f"serving_p{percentile}_ms")
        check_latency(percentiles[f"new_p{percentile}_ms"], serving_ms, percentile, limits)
    return percentiles


def check_latency(new_ms: float, serving_ms: float | None, percentile: int, limits: Limits) -> None:
    """Raise `GateFailed` where a percentile is above what `limits` allow, given the serving version's."""
    if serving_ms is None:
        if limits.latency_most_ms is not None and new_ms > limits.latency_most_ms:
            raise GateFailed(f"expected a p{percentile} of at most {limits.latency_most_ms:g} ms, got {new_ms:.2f} ms")
    elif new_ms > (allowed_ms := limits.latency_allowed_ms(serving_ms)):
        raise GateFailed(
            f"expected a p{percentile} of at most {allowed_ms:.2f} ms (the serving version's {serving_ms:.2f} ms x "
            f"{limits.latency_ratio:g} + {limits.latency_add_ms:g} ms), got {new_ms:.2f} ms"
        )


def read_archived_golden(archive: Path) -> Golden:
    """Return the golden inputs and outputs of an archive; raises `GateFailed` where it has none that can be sent."""
    with open_archive(archive) as members:
        if GOLDEN not in members.namelist():
            raise GateFailed(
                f"{archive}: expected an archive with {GOLDEN}, got one without: pack it with nautilus-torchserve pack"
            )
        content = io.BytesIO(members.read(GOLDEN))  # in memory: a rollback needs no free space
    try:
        golden = parse_golden(content, GOLDEN)
        golden_inputs(golden)
    except (BadArchive, KeyError, TypeError, ValueError) as error:
        raise GateFailed(f"{archive}: expected golden inputs that can be sent to a model: {error}") from None
    return golden


def golden_inputs(golden: Golden) -> Inputs:
    """Return the golden inputs in the form that clients take."""
    if "rows" not in golden.inputs:
        return [str(text) for text in golden.inputs["texts"]]
    rows: NDArray[np.float32] = golden.inputs["rows"]
    if "texts" not in golden.inputs:
        return rows
    windows, begin = [], 0
    for row, count in zip(rows, golden.inputs["counts"].tolist(), strict=True):
        texts, ages = (golden.inputs[name][begin : begin + count].tolist() for name in ("texts", "ages_s"))
        windows.append(NewsWindow(row, tuple(texts), tuple(ages)))
        begin += count
    return windows


def predict_golden(client: InferenceClient, golden: Golden, version: str, digest: str) -> PredictionResponse:
    """Send all golden inputs, and return the response once it is found to be of this version and this archive.

    Raises
    ------
    GateFailed
        Another version or archive responded.
    RequestError
        There was no response.
    """
    response = client.predict(golden_inputs(golden))
    if response.version != version:
        raise GateFailed(f"expected a response of version {version}, got one of {response.version}")
    if response.digest != digest:
        raise GateFailed(f"expected a response of archive {digest}, got one of {response.digest}")
    return response


def check_parity(response: PredictionResponse, golden: Golden) -> float:
    """Return the largest difference from the golden outputs; raises `GateFailed` beyond the archive's tolerance."""
    try:
        golden.verify(response.outputs)
    except BadArchive as error:
        raise GateFailed(str(error)) from None
    return max(float(np.abs(response.outputs[name] - values).max()) for name, values in golden.outputs.items())
