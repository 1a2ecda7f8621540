"""All explanations of a batch share one time budget: its predictions wait for them."""

from pathlib import Path

import numpy as np
import pytest
from worker_frames import Sent, Worker

from nautilus_torchserve.wire import headers
from nautilus_torchserve.wire.body import BINARY, encode_rows

ROW = encode_rows(np.array([[0.5, 0.4, 0.5, 0.2]], np.float32))
BATCH = [Sent([("body", BINARY, ROW)], [(headers.EXPLAIN, kind)]) for kind in ("True", "False", "True", "True")]


@pytest.mark.parametrize(
    ("name", "budget_s", "statuses"),
    [
        ("tick", 60.0, [200] * 4),
        ("tick", 0.0, [422, 200, 422, 422]),
        ("tick-explain", 0.0, [200] * 4),  # where predictions do not wait for them
    ],
)
def test_explanations_have_one_time_budget_a_batch(
    tick_archive: Path, tmp_path: Path, name: str, budget_s: float, statuses: list[int]
) -> None:
    worker = Worker(tick_archive, tmp_path, len(BATCH), name)
    worker.handler.model.explain_s, worker.handler.model.explain_alone_s = budget_s, 60.0

    assert [answer.status for answer in worker.answer(BATCH)] == statuses
