"""The files of an archive besides code: its description, its weights and its golden rows."""

import json
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.user_error import UserError

if TYPE_CHECKING:  # torch takes a second to import, and reading an archive's files does not need it
    from torch import nn

DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"
GOLDEN = "golden.npz"
_OUTPUT = "output."
_MAX_GOLDEN_BYTES = 256 << 20
"""Most bytes of golden rows, unpacked; a few kilobytes of zip may hold gigabytes of zeros."""
_NAMED = re.compile(r"(model_defs|nautilus_torchserve\.inference\.models)\.[a-z0-9_]+:[A-Za-z_][A-Za-z0-9_]*")
"""Objects that a description may name."""


class BadArchive(UserError, RuntimeError):
    """An archive that must not serve: incomplete, or with other outputs than the trained network's."""


@dataclass(frozen=True)
class Golden:
    """Inputs with the outputs of the freshly trained network."""

    inputs: dict[str, NDArray[Any]]
    """Inputs by name: ``rows``, float32 [n, *row_shape], or ``texts``, or both and more."""
    outputs: dict[str, NDArray[np.float32]]
    """Name -> float32 [n], in the order of the model's outputs."""
    tolerance: float
    """Greatest difference allowed on another device or library version: relative, absolute below 1."""

    def verify(self, outputs: dict[str, NDArray[np.float32]]) -> None:
        """Raise `BadArchive` when an output is missing or further off than the tolerance."""
        for name, expected in self.outputs.items():
            if name not in outputs:
                raise BadArchive(f"expected output {name!r} by {GOLDEN}, got {sorted(outputs)}")
            if outputs[name].shape != expected.shape or not expected.size:
                raise BadArchive(
                    f"{GOLDEN}: expected output {name!r} for {len(outputs[name])} inputs, got shape {expected.shape}"
                )
            error = float((np.abs(outputs[name] - expected) / np.maximum(np.abs(expected), 1.0)).max())
            if not error <= self.tolerance:  # NaN too
                raise BadArchive(
                    f"{GOLDEN}: expected output {name!r} within {self.tolerance:g} of the trained network's, "
                    f"got one off by {error:g}"
                )


def read_description(folder: Path) -> dict[str, Any]:
    """Return the ``model.json`` of a run or of an unpacked archive.

    Raises
    ------
    BadArchive
        It is missing, no JSON, or lacks what every model's needs.
    """
    path = _existing(folder / DESCRIPTION)
    return parse_description(path.read_bytes(), str(path))


def parse_description(data: bytes, path: str) -> dict[str, Any]:
    """Parse the content of a ``model.json``; raise as `read_description`, with ``path`` in the message."""
    try:
        description = json.loads(data)
    except (ValueError, RecursionError) as error:  # no UTF-8 too
        raise BadArchive(f"{path}: expected a JSON object, got {str(error) or type(error).__name__:.80}") from None
    _check_keys(path, "", description, {"network": dict})
    network = description["network"]
    _check_keys(path, "network.", network, {"file": str} if "program" in network else {"module": str, "config": dict})
    for name in ("files", "members"):
        if not _are_member_names(description.get(name, [])):
            got = repr(description[name])
            raise BadArchive(f"{path}: expected {name} as a list of names of files beside it, got {got:.60}")
    return description


def read_schema(description: dict[str, Any]) -> FeatureSchema:
    """Return the feature schema of a description; raise `BadArchive` where there is none."""
    try:
        return FeatureSchema.from_dict(description.get("feature_schema"))
    except ValueError as error:
        raise BadArchive(f"{DESCRIPTION}: {error}") from None


def _check_keys(path: str, inside: str, values: object, kinds: dict[str, type]) -> None:
    if not isinstance(values, dict):
        raise BadArchive(f"{path}: expected a JSON object, got {type(values).__name__}")
    for name, kind in kinds.items():
        if not isinstance(values.get(name), kind):
            raise BadArchive(
                f"{path}: expected {inside}{name} as {'a text' if kind is str else 'an object'}, "
                f"got {values.get(name)!r:.60}"
            )


def _are_member_names(names: object) -> bool:
    return isinstance(names, list) and all(
        isinstance(name, str) and name and Path(name).parts == (name,) and name != ".." for name in names
    )


def build_network(description: dict[str, Any]) -> "nn.Module":
    """Build the untrained network that a description names, with the ``build`` of its module.

    Raises
    ------
    BadArchive
        The module is not one of ``model_defs``, the only ones that a description may import, or builds no network.
    """
    from torch import nn

    module, config = description["network"]["module"], description["network"]["config"]
    if not re.fullmatch(r"model_defs\.[a-z0-9_]+", module):
        raise BadArchive(f"{DESCRIPTION}: expected a module of model_defs as network, got {module!r}")
    build = import_named(f"{module}:build")
    try:
        network = build(config)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        got = f"{config!r:.100} ({' '.join(str(error).split()):.200})"
        raise BadArchive(f"{DESCRIPTION}: expected a network.config for {module}, got {got}") from error
    if not isinstance(network, nn.Module):
        raise BadArchive(f"{module}:build: expected a torch.nn.Module, got {type(network).__name__}")
    return network


def import_named(path: object) -> Any:
    """Import an object that a description names as ``module:name``, of ``model_defs`` or of the inference core.

    Raises
    ------
    BadArchive
        It is of another module, or there is none.
    """
    if not isinstance(path, str) or not _NAMED.fullmatch(path):
        raise BadArchive(f"{DESCRIPTION}: expected model_defs.module:name, got {path!r:.100}")
    module, name = path.split(":")
    # Not importlib: `serving.client.archive_import` gives an archive's modules an __import__ that
    # finds their own first.
    try:
        return getattr(__import__(module, fromlist=[name]), name)
    except AttributeError:
        raise BadArchive(f"{DESCRIPTION}: expected {name} in {module}, got none") from None


def load_weights(folder: Path, network: "nn.Module") -> None:
    """Load the weights of a run or unpacked archive into its network; raise `BadArchive` where they do not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _existing(folder / WEIGHTS)
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise BadArchive(f"{path}: expected the network's weights: {' '.join(str(error).split()):.300}") from error


def read_golden(folder: Path) -> Golden:
    """Return the golden rows of a run or unpacked archive; raise `BadArchive` where they are missing or damaged."""
    path = _existing(folder / GOLDEN)
    return parse_golden(path, f"{path}")


def parse_golden(file: Path | BinaryIO, place: str) -> Golden:
    """Parse a ``golden.npz``, which may be in memory; ``place`` names it in messages."""
    try:
        with ZipFile(file) as members:
            if (size := sum(member.file_size for member in members.infolist())) > _MAX_GOLDEN_BYTES:
                raise ValueError(f"{size:,} bytes, more than {_MAX_GOLDEN_BYTES:,}")
        if not isinstance(file, Path):
            file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            values = {name: stored[name] for name in stored.files}
        tolerance = float(values.pop("tolerance"))
    # what NumPy and `zipfile` let through of damaged files
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        NotImplementedError,
        OSError,
        RuntimeError,
        SyntaxError,
        TypeError,
        ValueError,
        BadZipFile,
        struct.error,
        zlib.error,
    ) as error:
        got = str(error) or type(error).__name__
        raise BadArchive(f"{place}: expected golden inputs and outputs, got {got:.100}") from error
    inputs = {name: value for name, value in values.items() if not name.startswith(_OUTPUT)}
    outputs = {name.removeprefix(_OUTPUT): value for name, value in values.items() if name not in inputs}
    return Golden(inputs, outputs, tolerance)


def members(folder: Path) -> list[Path]:
    """Return the files of a run that its archive holds, relative to the run; an ensemble's include its members'."""
    description = read_description(folder)
    paths = [Path(DESCRIPTION), Path(GOLDEN), *map(Path, description.get("files", ()))]
    for member in description.get("members", ()):
        paths += [member / path for path in members(folder / member)]
    if "members" not in description and "program" not in description["network"]:
        paths.append(Path(WEIGHTS))
    for path in paths:
        _existing(folder / path)
    return paths


def code_modules(folder: Path) -> set[str]:
    """Return the modules that a run's description names (``model_defs.price_lstm``), an ensemble's with its members'.

    They build networks, and turn their outputs into those of the model.
    """
    description = read_description(folder)
    names = (description["network"].get("module"), description.get("activation"), description.get("inference"))
    own = {name.partition(":")[0] for name in names if isinstance(name, str) and ("." in name)}
    return own.union(*(code_modules(folder / member) for member in description.get("members", ())))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise BadArchive(f"expected {path.name} in {path.parent}, got none")
    return path
