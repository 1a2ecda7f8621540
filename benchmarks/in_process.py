"""Without a server: the bare forward pass, which is the floor, and a ``mar:`` client on top of it."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from benchmarks.load import LoadResult
from handlers.model_files import WEIGHTS
from model_defs.tick_classifier import TickClassifier, TickClassifierConfig

FORWARD, MAR = "forward", "mar:"
ONE = "one row"


def bare_forward(network: Path, rows: NDArray[np.float32], device: str) -> Callable[[], torch.Tensor]:
    """A call of the network on rows that lie ready as a tensor: probabilities, float32 [n, 3].

    Parameters
    ----------
    network : Path
        What `benchmarks.servers.unpack_network` wrote.
    """
    model = TickClassifier(TickClassifierConfig(**json.loads((network / "config.json").read_text())))
    model.load_state_dict(load_file(network / WEIGHTS))
    model.to(device).eval()
    tensor = torch.from_numpy(rows.copy()).to(device)

    @torch.inference_mode()
    def forward() -> torch.Tensor:
        return model(tensor).softmax(dim=1).cpu()

    return forward


def measure(call: Callable[[], object], seconds: float) -> LoadResult:
    """Call again and again for so long."""
    latencies_ns: list[int] = []
    began = now = time.perf_counter_ns()
    until = began + round(seconds * 1e9)
    while now < until or not latencies_ns:
        call()
        after = time.perf_counter_ns()
        latencies_ns.append(after - now)
        now = after
    p50, p99 = np.percentile(latencies_ns, [50, 99])
    return LoadResult(float(p50) / 1e6, float(p99) / 1e6, len(latencies_ns) / (now - began) * 1e9)
