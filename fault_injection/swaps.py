"""Versions swapped while clients ask: no request may be lost."""

import time
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.callers import Callers
from benchmarks.versions import as_version
from fault_injection.servers import MODEL, make_keys, sign
from fault_injection.verdict import Failure, Findings
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.report import RolloutReport
from nautilus_torchserve.release.rollout.rollout import register, rollback
from nautilus_torchserve.release.rollout.target import local_target
from nautilus_torchserve.serving.server.torchserve import TorchServe

LOST = "requests without an answer"
FAILED = "swaps that did not come off"
MUST_BE_ZERO = (LOST, FAILED)
CLIENTS = 8
_LIMITS = Limits(watch_s=0.3, drain_s=0.3, latency_requests=20, latency_add_ms=1000.0)
"""Latencies are not the subject here, and the machine is busy."""


def attack_by_swaps(
    server: TorchServe, archive: Path, folder: Path, seed: int, count: int, time_limit_s: float
) -> Findings:
    """Register new versions and roll back, ``count`` times, under load; keys and archives are made in ``folder``."""
    findings = Findings("swaps", MUST_BE_ZERO)
    rows = np.random.default_rng(seed).normal(0, 1, (1, 4)).astype(np.float32)
    random = Random(seed)
    make_keys(folder)
    began, done = time.monotonic(), 0
    with Callers(server, MODEL, rows, count=CLIENTS) as callers:
        for number in range(count):
            if time.monotonic() - began > time_limit_s:
                break
            report = _swap(server, archive, folder, f"5.{seed}.{number}", back=number > 0 and random.random() < 0.3)
            done += 1
            if not report.ok:
                findings.fail(
                    Failure(
                        FAILED,
                        report.action,
                        f"{report.failed_at}: {report.reason}"[:400],
                        f"swaps --seed {seed} --count {number + 1}",
                    )
                )
    for error in callers.errors:
        findings.fail(Failure(LOST, "swap", error[:400], f"swaps --seed {seed} --count {done}"))
    versions = {call.version for call in callers.calls if call.version}
    longest_ms = max(call.took_ms for call in callers.calls)
    findings.counts = {
        "swaps": done,
        "requests": len(callers.calls),
        **findings.counts,
        "versions that answered": len(versions),
        "longest request (ms)": longest_ms,
        "seconds": time.monotonic() - began,
    }
    return findings


def _swap(server: TorchServe, archive: Path, folder: Path, version: str, back: bool) -> RolloutReport:
    target = local_target(server.home)
    if back:
        return rollback(target, MODEL)
    path = as_version(archive, folder / f"{version}.mar", version)
    sign(path, folder)
    return register(target, MODEL, path, folder / "trusted", _LIMITS)
