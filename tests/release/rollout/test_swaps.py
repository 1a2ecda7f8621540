"""Many swaps in a row while clients go on asking: no request fails, none hangs."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from deployment import Desk
from tick_versions import TAKES_30_MS

from benchmarks.callers import Callers
from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.rollout import register

LIMITS = Limits(watch_s=0.5, latency_requests=5, latency_add_ms=1000.0, drain_s=0.5)
"""Latencies are not what this is about; eight clients in one process delay each other."""


@pytest.mark.slow
@pytest.mark.parametrize(("code", "swaps"), [("", 20), (TAKES_30_MS, 8)], ids=["0 ms", "30 ms"])
def test_no_request_fails_in_many_swaps_under_eight_clients(
    desk: Desk, fresh_version: Callable[[], str], rows: np.ndarray, code: str, swaps: int
) -> None:
    desk.first(code)  # what serves takes as long as what comes
    versions: list[str] = []
    loading: list[float] = []  # begin and end of each load

    def note_loading(text: str) -> None:
        if text.endswith((": load", ": golden")):
            loading.append(time.monotonic())

    with Callers(desk.server, "tick", rows, count=8) as callers:
        for _ in range(swaps):
            archive = desk.make(version := fresh_version(), code)
            callers.wait_for(400 if not code else 60)
            report = register(desk.target, "tick", archive, desk.trusted, LIMITS, progress=note_loading)
            assert report.ok, report.as_text()
            versions.append(version)

    ratios = [
        callers.latencies_ms(begin, end).max() / np.percentile(callers.latencies_ms(begin - 1.0, begin), 99)
        for begin, end in zip(loading[::2], loading[1::2], strict=True)
    ]
    print(
        f"{len(callers.calls)} requests in {swaps} swaps; longest while a version loads, over the p99 before: "
        f"median {np.median(ratios):.1f}, largest {max(ratios):.1f}"
    )
    assert callers.errors == []
    assert set(versions) <= {call.version for call in callers.calls}
