"""Swapping versions under load: the sequence of calls that comes to mind first, against a rollout."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks.callers import Callers
from benchmarks.versions import as_version
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.rollout import register, rollback
from nautilus_torchserve.release.rollout.target import Target, local_target
from nautilus_torchserve.serving.http_session import HttpSession
from nautilus_torchserve.serving.server.torchserve import ServerSettings, TorchServe, start_server
from nautilus_torchserve.serving.tokens import current_token
from nautilus_torchserve.signing.archive_signature import sign_archive
from nautilus_torchserve.signing.keys import make_key

MODEL = "tick"
CLIENTS = 8
_LIMITS = Limits(watch_s=0.5, latency_requests=20, latency_add_ms=50.0, drain_s=0.5)
"""Eight clients in one process delay each other: latencies are measured here, not gated."""


@dataclass(frozen=True)
class SwapResult:
    """Measurements of swaps under load."""

    swaps: int
    requests: int
    failed: int
    """Requests that got an error, or no answer in time."""
    p99_ms: float
    """Over the seconds before each swap, the median over swaps."""
    loading_p99_ms: float
    """While a version loaded, the median over swaps."""
    longest_ms: float
    """The longest of all while a version loaded, the median over swaps."""
    took_s: float
    """For one swap, the median."""


def compare(archive: Path, swaps: int, rows: NDArray[np.float32]) -> dict[str, SwapResult]:
    """Measure both ways and rollbacks, one after the other, on one server under eight keep-alive clients."""
    with _server(archive) as (server, folder):
        key, trusted = folder / "bench.key", folder / "trusted"
        make_key(key, trusted / "bench.pub")
        numbers = iter(range(1, 10_000))

        def fresh() -> tuple[str, Path]:
            version = f"3.{next(numbers)}"
            return version, _version(archive, folder / f"{version}.mar", version, key)

        def careful(note: Callable[[], None]) -> None:
            _, path = fresh()
            report = register(
                local_target(server.home),
                MODEL,
                path,
                trusted,
                _LIMITS,
                progress=lambda text: note() if text.endswith((": load", ": golden")) else None,
            )
            if not report.ok:
                raise RuntimeError(report.as_text())

        def naive(note: Callable[[], None]) -> None:
            version, path = fresh()
            _naive_swap(local_target(server.home), version, path, note)

        return {
            "naive": _swap_under_load(server, rows, swaps, naive),
            "rollout": _swap_under_load(server, rows, swaps, careful),
        }


def rollback_ms(archive: Path, times: int) -> list[float]:
    """Return how long it takes from the call until the version before answers, milliseconds."""
    with _server(archive) as (server, folder):
        key, trusted = folder / "bench.key", folder / "trusted"
        make_key(key, trusted / "bench.pub")
        target = local_target(server.home)
        durations_ms = []
        for number in range(times):
            path = _version(archive, folder / f"4.{number}.mar", f"4.{number}", key)
            register(target, MODEL, path, trusted, _LIMITS)
            began = time.perf_counter()
            report = rollback(target, MODEL)
            durations_ms.append((time.perf_counter() - began) * 1000)
            if not report.ok:
                raise RuntimeError(report.as_text())
    return durations_ms


def _naive_swap(target: Target, version: str, path: Path, note: Callable[[], None]) -> None:
    """Register and wait for the answer, as TorchServe does by default; set the default; delete the old version."""
    old = target.manager().default_version(MODEL)
    shutil.copyfile(path, target.model_store / path.name)
    url = f"{target.management_url}/models"
    with HttpSession() as session:
        session.headers["Authorization"] = f"Bearer {current_token(target.management_token)}"
        note()
        session.post(
            url, timeout=60, json={"url": path.name, "model_name": MODEL, "initial_workers": 1, "synchronous": True}
        )
        note()
        session.put(f"{url}/{MODEL}/{version}/set-default", timeout=60)
        session.delete(f"{url}/{MODEL}/{old}", timeout=60)


def _swap_under_load(
    server: TorchServe, rows: NDArray[np.float32], swaps: int, swap: Callable[[Callable[[], None]], None]
) -> SwapResult:
    began: list[float] = []
    loading: list[float] = []  # begin and end of each load
    durations_s: list[float] = []
    with Callers(server, MODEL, rows, count=CLIENTS) as callers:
        for _ in range(swaps):
            callers.wait_for(1000)
            began.append(time.monotonic())
            swap(lambda: loading.append(time.monotonic()))
            durations_s.append(time.monotonic() - began[-1])
    p99 = [float(np.percentile(callers.latencies_ms(at - 1.0, at), 99)) for at in began]
    meanwhile = [callers.latencies_ms(*loading[at : at + 2]) for at in range(0, len(loading), 2)]
    medians = (
        float(np.median(values))
        for values in (
            p99,
            [np.percentile(one, 99) for one in meanwhile],
            [one.max() for one in meanwhile],
            durations_s,
        )
    )
    return SwapResult(swaps, len(callers.calls), len(callers.errors), *medians)


@contextmanager
def _server(archive: Path) -> Iterator[tuple[TorchServe, Path]]:
    with TemporaryDirectory(prefix="swaps-") as name:
        folder = Path(name)
        (folder / "store").mkdir()
        shutil.copyfile(archive, folder / "store" / f"{MODEL}.mar")
        settings = ServerSettings({MODEL: f"{MODEL}.mar"}, folder / "store", folder / "home", free_ports=True)
        with start_server(settings) as server:
            yield server, folder


def _version(archive: Path, to: Path, version: str, key: Path) -> Path:
    """Return the same archive under another version, signed."""
    sign_archive(as_version(archive, to, version), key)
    return to
