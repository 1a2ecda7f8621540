"""A price model to measure: its speed does not depend on what it has learned."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model_defs.return_network import OUTPUTS, ReturnNetwork, predict
from nautilus_torchserve.features.bar import bar_columns, bar_schema, window_ends, windows
from nautilus_torchserve.inference.model_files import build_network
from nautilus_torchserve.market.bars.bars import PRICES
from nautilus_torchserve.market.bars.simulator import simulate_bars
from nautilus_torchserve.training.runs.result import write_run


@pytest.fixture(scope="session")
def untrained_price_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small price network as it comes out of its initialisation, with five golden windows."""
    run, schema, bars = tmp_path_factory.mktemp("runs") / "untrained", bar_schema(), simulate_bars(64)
    description = {
        "model": "price",
        "network": {"module": "model_defs.price_lstm", "config": {"hidden": 16}},
        "feature_schema": schema.to_dict(),
    }
    network = build_network(description).eval()
    assert isinstance(network, ReturnNetwork)
    torch.nn.init.normal_(network.head.weight)
    ohlcv = np.stack([*(bars.prices(name) for name in PRICES), bars.volumes()], axis=1)
    rows = windows(bar_columns(ohlcv), window_ends(bars.ts_event, bars.interval_ns, schema.window))
    with torch.inference_mode():
        golden = dict(zip(OUTPUTS, predict(network, torch.from_numpy(rows)).numpy().T, strict=True))
    write_run(run, description, {}, network, golden, {"rows": rows}, tolerance=1e-4)
    return run
