"""Without a server: the bare forward pass, which is the floor, and a ``mar:`` client on top of it."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import orjson
import torch
from safetensors.torch import load
from torch import nn

from benchmarks.load import LoadResult
from benchmarks.payloads import MANY, MANY_WINDOWS, PRICE, Payload
from nautilus_torchserve.inference.model_files import DESCRIPTION, WEIGHTS, build_network
from nautilus_torchserve.inference.tiles import Tiles
from nautilus_torchserve.serving.client.client import InferenceClient

FORWARD, IN_TILES, MAR = "forward", "forward in tiles", "mar:"
ONE, ROWS = "one row", f"{MANY:,} rows"
ONE_WINDOW, WINDOWS = "one window", f"{MANY_WINDOWS} windows"


@dataclass(frozen=True)
class Call:
    """A call that is measured in this process."""

    name: str
    """`FORWARD`, `IN_TILES` or `MAR`."""
    request: str
    """Number and kind of rows; the encoding of a request does not matter here."""
    rows: int
    make: Callable[[], object]
    """The call itself."""


def make_calls(client: InferenceClient, archive: Path, payloads: Iterable[Payload]) -> list[Call]:
    """Return all calls for one model, for each number of rows once.

    The network alone on rows that lie ready as a tensor; for windows also in the tiles that make its
    answers invariant, without anything else that the handler does; and the whole handler.

    Parameters
    ----------
    client : InferenceClient
        Of ``mar:`` and this archive.
    archive : Path
        Where the network comes from.
    payloads : iterable of Payload
        Of this model.
    """
    device = client.metadata.device
    network = _load_network(archive).to(device).eval()
    tiles = Tiles(client.metadata.tile_rows)
    calls = []
    for payload in {len(payload.rows): payload for payload in payloads}.values():
        count, windows = len(payload.rows), payload.model == PRICE
        request = (ONE_WINDOW if windows else ONE) if count == 1 else (WINDOWS if windows else ROWS)
        tensor = torch.from_numpy(payload.rows.copy()).to(device)
        forward = network if windows else partial(_probabilities, network)
        calls.append(Call(FORWARD, request, count, partial(_infer, forward, tensor)))
        if windows:
            calls.append(Call(IN_TILES, request, count, partial(_infer, partial(tiles.run, forward), tensor)))
        calls.append(Call(MAR, request, count, partial(client.predict, payload.rows)))
    return calls


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


def _load_network(archive: Path) -> nn.Module:
    with ZipFile(archive) as packed:
        network = build_network(orjson.loads(packed.read(DESCRIPTION)))
        network.load_state_dict(load(packed.read(WEIGHTS)))
    return network


def _probabilities(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    return network(rows).softmax(dim=1)  # (B, 3)


@torch.inference_mode()
def _infer(forward: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    return forward(rows).cpu()
