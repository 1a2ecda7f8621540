"""Records how long a real server takes under a real arrival pattern, as a latency profile that backtests replay."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from benchmarks.arrivals import Arrivals, rows_of
from benchmarks.machine import describe_machine
from benchmarks.open_loop import Exchanges, OpenLoop
from nautilus_torchserve.bundle import WORKSPACE
from nautilus_torchserve.inference.model_files import read_description
from nautilus_torchserve.latency.profile import LatencyProfile, service_times
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.model_metadata import ModelMetadata
from nautilus_torchserve.serving.server.torchserve import ServerSettings, find_server, start_server
from nautilus_torchserve.wire.body import BINARY, encode_rows

_WARM_UP_S = 1.0
_CONNECTIONS = 8
"""Opened before the clock runs."""


@dataclass(frozen=True)
class ServedModel:
    """A model on a running server."""

    url: str
    """The inference port."""
    model: str
    version: str | None
    """None: the default one, and that one for the whole recording."""
    token: str | None
    workers: int
    """Number of its workers."""


def record(served: ServedModel, arrivals: Arrivals) -> LatencyProfile:
    """Send one row with each arrival, in an open loop, and derive the service times.

    A service time is what is left of a response's time when its wait for a free worker is taken off
    (`latency.profile.service_times`); the way to the server and back is part of it, as if the worker were taken
    meanwhile, so that a replay errs on the side of more queueing. Requests that leave together reach the workers in
    an order that is not seen from here (of 40 at once, half overtook another): the k-th response is taken for the
    k-th request's. ``about`` says what was recorded and measured.

    Raises
    ------
    RequestError
        The model cannot be reached.
    LoadFailed
        A request was not answered with 200, or the server did not keep up.
    BadData
        The model takes no rows.
    """
    with connect(served.url, served.model, served.version, token=served.token) as client:
        metadata = client.metadata
        rows = rows_of(metadata, arrivals.trades)
        until = monotonic() + _WARM_UP_S
        while monotonic() < until:
            client.predict(rows[:1])
    headers = [f"Content-Type: {BINARY}", f"Accept: {BINARY}"]
    if served.token is not None:
        headers.append(f"Authorization: Bearer {served.token}")
    url = f"{served.url.rstrip('/')}/predictions/{served.model}/{metadata.version}"
    bodies = [encode_rows(row[None]) for row in rows]
    with OpenLoop(url, headers) as loop:
        loop.send(bodies, np.zeros(_CONNECTIONS, dtype=np.int64))
        exchanges = loop.send(bodies, arrivals.due_ns)
    return _profile(served, arrivals, metadata, exchanges)


def served_workers(url: str, model: str, version: str | None) -> int | None:
    """Return how many workers the model has on the server that was started from here; None on another server.

    Raises
    ------
    ManagementError
        The server does not describe the model.
    """
    server = find_server(WORKSPACE / ".server")
    if server is None or server.inference_url != url.rstrip("/"):
        return None
    return len(server.management().describe(model, version)[0]["workers"])


@contextmanager
def own_server(run: Path, archive: Path | None) -> Iterator[ServedModel]:
    """Start a server for the recording alone, as ``config.properties`` says but on free ports.

    Parameters
    ----------
    run : Path
        Training run to build the archive from, of whichever model.
    archive : Path, optional
        A tick.mar to serve instead.

    Raises
    ------
    BadArchive, BuildFailed, UnreadableArchive, NoJava, StartFailed, ManagementError
    """
    with TemporaryDirectory(prefix="record-") as folder:
        store = Path(folder) / "models"
        store.mkdir()
        model = "tick"
        if archive is None:
            model = read_description(run)["model"]
            build_archive(model, run, "1.0", store)
        else:
            shutil.copyfile(archive, store / f"{model}.mar")
        settings = ServerSettings({model: f"{model}.mar"}, store, Path(folder) / "home", free_ports=True)
        with start_server(settings) as server:
            workers = len(server.management().describe(model)[0]["workers"])
            yield ServedModel(server.inference_url, model, None, server.token, workers)


def lines(profile: LatencyProfile) -> list[tuple[str, str]]:
    """Return labels and values of a recording for the terminal."""
    about = profile.about
    return [
        ("model", f"{about['model']} {about['version']}, {about['digest'][:12]}"),
        ("arrivals", f"{about['arrivals']}: {about['requests']:,} in {about['seconds']:.1f} s"),
        ("rate", f"{about['rate_per_s']:.1f}/s, workers: {profile.workers}"),
        ("latency (ms)", _shown(about["latency_ms"])),
        ("service (ms)", _shown(about["service_ms"])),
        ("utilisation", f"{about['utilisation']:.1%} of the workers' time"),
        ("sent late by (ms)", _shown(about["lag_ms"])),
        ("raised to 1 ns", f"{about['raised']:,} seen answered together with the one before"),
    ]


def _profile(served: ServedModel, arrivals: Arrivals, metadata: ModelMetadata, exchanges: Exchanges) -> LatencyProfile:
    times = service_times(exchanges.sent_ns, np.sort(exchanges.answered_ns), served.workers)
    seconds = float(exchanges.answered_ns.max()) / 1e9
    about = {
        "model": served.model,
        "version": metadata.version,
        "digest": metadata.archive_digest,
        "arrivals": arrivals.words,
        "requests": len(exchanges.due_ns),
        "seconds": seconds,
        "rate_per_s": len(exchanges.due_ns) / seconds,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "latency_ms": _percentiles_ms(exchanges.latency_ns),
        "service_ms": _percentiles_ms(times.service_ns),
        "lag_ms": _percentiles_ms(exchanges.lag_ns),
        "utilisation": float(times.service_ns.sum()) / 1e9 / (served.workers * seconds),
        "raised": times.raised,
    }
    return LatencyProfile(times.service_ns, served.workers, about)


def _percentiles_ms(values_ns: NDArray[np.int64]) -> dict[str, float]:
    return {f"p{rank}": float(np.percentile(values_ns, rank)) / 1e6 for rank in (50, 99)}


def _shown(percentiles: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in percentiles.items())
