"""What an archive holds besides code: its description, its weights and its golden rows."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from features.schema import FeatureSchema

DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"
GOLDEN = "golden.npz"


class BadArchive(RuntimeError):
    """An archive that must not serve: incomplete, or it does not answer what it was built to answer."""


@dataclass(frozen=True)
class Golden:
    """Inputs with the outputs that the freshly trained network gave."""

    rows: NDArray[np.float32]
    """float32 [n, *row_shape]."""
    outputs: dict[str, NDArray[np.float32]]
    """Name -> float32 [n], in the order in which the model answers."""
    tolerance: float
    """Greatest difference allowed on another device or library version: relative, absolute below 1."""

    def verify(self, answered: dict[str, NDArray[np.float32]]) -> None:
        """Raise `BadArchive` when an output is missing or further off than the tolerance."""
        for name, expected in self.outputs.items():
            if name not in answered:
                raise BadArchive(f"output {name!r} expected by {GOLDEN}, was {sorted(answered)}")
            error = float((np.abs(answered[name] - expected) / np.maximum(np.abs(expected), 1.0)).max())
            if not error <= self.tolerance:  # NaN too
                raise BadArchive(
                    f"{GOLDEN}: output {name!r} within {self.tolerance:g} of the trained network's expected, "
                    f"was off by {error:g}"
                )


def read_description(folder: Path) -> dict[str, Any]:
    """``model.json`` of a run or of an unpacked archive."""
    return json.loads(_existing(folder / DESCRIPTION).read_text())


def read_schema(description: dict[str, Any]) -> FeatureSchema:
    """The feature schema that a description carries."""
    return FeatureSchema.from_dict(description["feature_schema"])


def build_network(description: dict[str, Any]) -> nn.Module:
    """The untrained network that a description names, by the ``build`` of its module.

    Raises
    ------
    BadArchive
        The module is none of ``model_defs``: a description must not choose what else is imported.
    """
    module, config = description["network"]["module"], description["network"]["config"]
    if not re.fullmatch(r"model_defs\.[a-z0-9_]+", module):
        raise BadArchive(f"{DESCRIPTION}: a module of model_defs expected as network, was {module!r}")
    # Not importlib: `serving.archive_import` gives an archive's modules an __import__ that finds their own first.
    return __import__(module, fromlist=["build"]).build(config)


def read_golden(folder: Path) -> Golden:
    """``golden.npz`` of a run or of an unpacked archive."""
    with np.load(_existing(folder / GOLDEN), allow_pickle=False) as stored:
        outputs = {
            name.removeprefix("output."): stored[name] for name in stored.files if name.startswith("output.")
        }
        return Golden(stored["rows"], outputs, float(stored["tolerance"]))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise BadArchive(f"{path.name} expected in {path.parent}, was missing")
    return path
