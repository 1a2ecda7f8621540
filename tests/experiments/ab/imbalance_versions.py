"""Versions of the tick classifier that follow the order imbalance or its opposite, and outcomes that it predicts."""

import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from model_defs.tick_classifier import CLASSES
from nautilus_torchserve.inference.model_files import GOLDEN, WEIGHTS, build_network, read_description, read_golden
from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.signing.archive_signature import sign_archive

RIGHT = 0.85
"""Share of the outcomes that the order imbalance predicts."""


def outcomes(rows: np.ndarray, seed: int) -> list[str]:
    """Return outcomes: mostly BUY where the imbalance is positive and SELL where it is not, else the other one."""
    predicted = np.random.default_rng(seed).random(len(rows)) < RIGHT
    return ["BUY" if (row[1] > 0) == right else "SELL" for row, right in zip(rows, predicted, strict=True)]


def imbalance_version(run: Path, version: str, sign: int, folder: Path, key: Path) -> Path:
    """Build a signed archive that predicts BUY where ``sign`` times the imbalance is positive, and SELL elsewhere."""
    shutil.copytree(run, folder / "run")
    weights = {name: np.zeros_like(value) for name, value in load_file(run / WEIGHTS).items()}
    weights["scale"] += 1
    weights["hidden.weight"][:2, 1] = sign, -sign  # the imbalance's positive and its negative part
    weights["output.weight"][0, 0] = weights["output.weight"][1, 1] = 20.0
    weights["output.bias"][2] = -20.0  # never HOLD
    save_file(weights, folder / "run" / WEIGHTS)
    network = build_network(read_description(folder / "run"))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    golden = read_golden(run)
    with torch.inference_mode():
        answers = network(torch.from_numpy(golden.inputs["rows"])).softmax(dim=1).numpy()
    np.savez(
        folder / "run" / GOLDEN,
        tolerance=golden.tolerance,
        rows=golden.inputs["rows"],
        **{f"output.{name}": answers[:, index] for index, name in enumerate(CLASSES)},
    )
    archive = build_archive("tick", folder / "run", version, folder / "built").path
    sign_archive(archive, key)
    return archive
