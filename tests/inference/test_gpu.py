"""On a host with a GPU: the same archive, on CUDA. Run: ``pytest tests/inference/test_gpu.py``."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nautilus_torchserve.serving.client.client import connect

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def test_archive_computes_on_the_gpu_within_its_tolerance(tick_archive: Path, rows: np.ndarray) -> None:
    with connect(f"mar:{tick_archive}", "tick") as client:
        assert client.metadata.device.startswith("cuda")  # its golden rows passed while loading
        together = client.predict(rows).outputs["buy"]
        alone = np.concatenate([client.predict(row[None]).outputs["buy"] for row in rows])

    assert together.tobytes() == alone.tobytes()
