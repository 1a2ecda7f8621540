"""An unfitted price model whose outputs depend on its window."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_defs.return_network import OUTPUTS, ReturnNetwork, predict
from nautilus_torchserve.features.bar import bar_schema
from nautilus_torchserve.inference.model_files import build_network
from nautilus_torchserve.market.bars.simulator import simulate_bars
from nautilus_torchserve.training.runs.result import write_run

MINUTE = 60 * 10**9


def write_price_run(
    folder: Path,
    indicators: bool = False,
    last_ts_event: int = 0,
    instrument_id: str = "SIMUSD.SIM",
    max_gap_ns: int = MINUTE,
    config: dict[str, Any] | None = None,
) -> Path:
    """Write a run folder as a fit would: a small LSTM on 1-minute bars whose outputs depend mostly on volumes."""
    schema = bar_schema(indicators)
    description = {
        "model": "price",
        "network": {
            "module": "model_defs.price_lstm",
            "config": {"inputs": len(schema.columns), "hidden": 8, "layers": 1, "dropout": 0.0, **(config or {})},
        },
        "feature_schema": schema.to_dict(),
        "bars": {"interval_ns": MINUTE, "max_gap_ns": max_gap_ns, "indicators": indicators},
        "label": {"horizon_bars": 1},
        "training": {
            "source": "nothing",
            "sha256": "0" * 64,
            "simulated": True,
            "instrument_id": instrument_id,
            "last_ts_event": last_ts_event,
        },
        "metrics": {"edge": "No edge: it was not fitted.", "beats_baselines": False},
        "seed": 1,
        "git_commit": None,
        "torch": torch.__version__,
    }
    torch.manual_seed(1)
    network = build_network(description).eval()
    assert isinstance(network, ReturnNetwork)
    rows = golden_rows(len(schema.columns))
    _draw_weights(network, torch.from_numpy(rows))
    with torch.inference_mode():
        outputs = predict(network, torch.from_numpy(rows)).numpy()
    golden = dict(zip(OUTPUTS, outputs.T, strict=True))
    write_run(folder, description, {}, network, golden, {"rows": rows}, tolerance=1e-4)
    return folder


def _draw_weights(network: ReturnNetwork, rows: torch.Tensor) -> None:
    """Scale the outputs to several bps, about as many up as down."""
    with torch.no_grad():
        network.return_scale.fill_(5e-4)
        network.head.weight.normal_(std=12.0)
        network.head.bias[0] = -network(rows)[:, 0].mean() / network.return_scale


def golden_rows(columns: int) -> np.ndarray:
    """Windows of simulated bars, float32 [8, 60, columns]; indicator columns hold plain noise."""
    bars = simulate_bars(8 * 60, seed=9)
    ohlcv = np.stack([*(bars.prices(name) for name in ("open", "high", "low", "close")), bars.volumes()], axis=1)
    noise = np.random.default_rng(9).normal(0, 1e-3, (len(bars), columns - 5))
    return np.hstack([ohlcv, noise]).astype(np.float32).reshape(8, 60, columns)
