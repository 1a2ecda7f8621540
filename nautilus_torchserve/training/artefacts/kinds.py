"""Kinds of files that trained models come in: how one is recognised, and what of it a run folder holds."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch
from safetensors.torch import save_file
from torch import nn

from nautilus_torchserve.inference.model_files import WEIGHTS, BadArchive, build_network
from nautilus_torchserve.inference.programs import load_program
from nautilus_torchserve.models.spec import ModelSpec, Network, describe_failure, load_object
from nautilus_torchserve.training.artefacts.foreign import refuse_foreign
from nautilus_torchserve.training.artefacts.hugging_face import write_text_classifier
from nautilus_torchserve.training.artefacts.state_dict import (
    INDEXES,
    BadWeights,
    Weights,
    fit_weights,
    is_safetensors,
    read_weights,
    refuse_damaged,
)
from nautilus_torchserve.training.artefacts.written import Written
from nautilus_torchserve.user_error import InvalidArgument

_ONNX = re.compile(rb"\x08[\x03-\x1f][\x12\x1a\x22\x2a\x3a\x42]")
"""Beginning of an ONNX program: its format's version, then the first of its other fields."""
_LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f]|[\x80-\xff]\x01)")
"""Where an ONNX program names an external file: the key ``location``, then the length of the name as a varint."""


@dataclass(frozen=True)
class ArtefactKind:
    """One kind of file."""

    name: str
    """What ``model.json`` calls it."""
    matches: Callable[[Path], bool]
    """Whether a file or folder is of this kind; reads no more than its beginning, or its table of contents."""
    write: Callable[[Path, Path, ModelSpec | None, Mapping[str, Any]], Written]
    """Takes the file, the run folder, the spec, and changes of the network's configuration."""


def recognise(path: Path) -> ArtefactKind:
    """Return the kind of a file or folder, by its content.

    Raises
    ------
    InvalidArgument
        There is none, or it is of no kind, or of a known one that is not packed.
    """
    if not path.is_file() and not path.is_dir():
        raise InvalidArgument(f"{path}: expected a file or folder of a trained model, got none")
    refuse_foreign(path)
    for kind in ARTEFACTS:
        if kind.matches(path):
            return kind
    names = ", ".join(kind.name for kind in ARTEFACTS)
    got = f"another {'folder' if path.is_dir() else 'file'}"
    if path.is_file():
        with path.open("rb") as file:
            if file.read(2) == b"PK" and not is_zipfile(path):
                got = "the beginning of a zip file"
    raise InvalidArgument(f"{path}: expected one of {names}, got {got}")


def _members(path: Path) -> list[str]:
    """Return the names inside a zip file without its top folder; none where it is no zip file."""
    if not path.is_file():
        return []
    try:
        with ZipFile(path) as archive:
            return [name.partition("/")[2] or name for name in archive.namelist()]
    except (BadZipFile, OSError, ValueError):
        return []


def _is_torchscript(path: Path) -> bool:
    names = _members(path)
    return "constants.pkl" in names and any(name.startswith("code/") for name in names)


def _is_export(path: Path) -> bool:
    names = _members(path)
    return "archive_format" in names or "serialized_exported_program.json" in names


def _is_onnx(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix == ".onnx" or _ONNX.match(file.read(3)) is not None


def _is_classifier(path: Path) -> bool:
    return path.is_dir() and (path / "config.json").is_file()


def _is_weights(path: Path) -> bool:
    if path.is_dir():
        return any((path / name).is_file() for name in ("model.safetensors", "pytorch_model.bin", *INDEXES))
    return path.name.endswith(".index.json") or is_safetensors(path) or "data.pkl" in _members(path) or _is_pickle(path)


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == b"\x80"  # as torch wrote before 1.6, and pickle.dump does


def _write_program(program: str, file: str, path: Path, folder: Path, spec: ModelSpec | None, changes: Any) -> Written:
    if changes:
        raise InvalidArgument(f"{path}: expected --set with weights of a spec's network, got a program, which has none")
    refuse_damaged(path)
    external = _external_files(path) if program == "onnx" else []
    name = path.name if external else file  # the program names its external files, which may begin with its own name
    for source, target in ((path, name), *((other, other.name) for other in external)):
        shutil.copyfile(source, folder / target)
    try:
        row_shape = load_program(folder / name, program, torch.device("cpu")).row_shape
    except BadArchive as error:
        raise BadArchive(f"{error}".replace(f"{folder / name}", f"{path}")) from None
    return Written({"program": program, "file": name}, (name, *(other.name for other in external)), row_shape)


def _external_files(path: Path) -> list[Path]:
    """Return the files beside an ONNX program that hold its weights, as it names them."""
    content = path.read_bytes()
    names = set()
    for match in _LOCATION.finditer(content):
        low, *high = match[1]
        length = low if not high else (low & 0x7F) + (high[0] << 7)
        names.add(content[match.end() : match.end() + length].decode(errors="replace"))
    for name in sorted(names):
        if Path(name).name != name:
            raise BadArchive(
                f"{path}: expected external data in files beside it, got {name!r:.200}: save it again with "
                "onnx.save_model(..., save_as_external_data=True, location=NAME)"
            )
        if not path.with_name(name).is_file():
            raise BadArchive(f"{path}: expected {name}, which holds weights of it, beside it, got none")
    return [path.with_name(name) for name in sorted(names)]


def _write_weights(path: Path, folder: Path, spec: ModelSpec | None, changes: Mapping[str, Any]) -> Written:
    if spec is None:
        raise InvalidArgument(f"{path}: expected --spec FILE, whose network these weights are for, got none")
    if not spec.networks:
        raise InvalidArgument(f"{path}: expected a spec with the network that these weights are for, got one without")
    weights = read_weights(path)
    network, config, fitted = _match(weights, spec, changes, path)
    save_file({name: value.clone().contiguous() for name, value in fitted.items()}, folder / WEIGHTS)
    schema = spec.features.load_schema(**network.schema)
    return Written({"module": network.module, "config": config}, schema=schema)


def _match(
    weights: Weights, spec: ModelSpec, changes: Mapping[str, Any], path: Path
) -> tuple[Network, dict[str, Any], Weights]:
    """Return the first of the spec's networks that weights fit, with its configuration; raise as for the first one."""
    failure: BadWeights | None = None
    for network in spec.networks:
        config = _config(network, changes)
        try:
            return network, config, fit_weights(weights, _build(network, config), path)
        except BadWeights as error:
            failure = failure or BadWeights(f"{error}{_remedy(error, network)}")
    assert failure is not None
    raise failure


def _build(network: Network, config: dict[str, Any]) -> nn.Module:
    try:
        return build_network({"network": {"module": network.module, "config": config}})
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        cause = error.__cause__ if isinstance(error, BadArchive) else error
        reason = f"{error}" if cause is None else describe_failure(cause)
        raise InvalidArgument(
            f"{network.config}: expected a configuration that {network.module}:build makes a network of, got "
            f"{config!r:.200}: {reason}: --set NAME=VALUE changes it"
        ) from None


def _config(network: Network, changes: Mapping[str, Any]) -> dict[str, Any]:
    kind = load_object(network.config)
    names = [field.name for field in fields(kind)]
    if unknown := sorted(changes.keys() - names):
        raise InvalidArgument(
            f"expected --set with fields of {network.config} ({', '.join(names):.200}), got {', '.join(unknown):.100}"
        )
    try:
        return json.loads(json.dumps(asdict(kind(**changes)), allow_nan=False))
    except Exception as error:  # whatever the user's class raises
        raise InvalidArgument(
            f"{network.config}: expected a configuration of plain JSON types from its defaults and --set NAME=VALUE, "
            f"got {type(error).__name__}: {error}"
        ) from None


def _remedy(error: BadWeights, network: Network) -> str:
    return f": --set NAME=VALUE changes {network.config}" if re.search(r"of shape", str(error)) else ""


ARTEFACTS = (
    ArtefactKind("torch.export", _is_export, partial(_write_program, "torch.export", "network.pt2")),
    ArtefactKind("torchscript", _is_torchscript, partial(_write_program, "torchscript", "network.pt")),
    ArtefactKind("onnx", _is_onnx, partial(_write_program, "onnx", "network.onnx")),
    ArtefactKind("hugging face", _is_classifier, write_text_classifier),
    ArtefactKind("weights", _is_weights, _write_weights),
)
"""All kinds, in the order in which a file is compared with them."""
