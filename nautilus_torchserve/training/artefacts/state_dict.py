"""Weights in files of any make: read without running anything, their names matched with those of a network."""

import argparse
import collections
import datetime
import decimal
import json
import pathlib
import pickle
import re
import types
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.parameter import is_lazy

from nautilus_torchserve.user_error import UserError

Weights = dict[str, torch.Tensor]
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Names of files that name the shards of weights in a folder."""
_KEYS = (
    *("state_dict", "model_state_dict", "model", "module", "network", "net", "weights", "params"),
    *("model_state", "model_weights", "network_state_dict", "net_state_dict", "best_model_state_dict"),
)
"""Keys of a training checkpoint below which its network's weights are, the first goes first."""
_WRAPPERS = frozenset(("module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module", "_checkpoint_wrapped_module"))
"""Parts of names that DataParallel, torch.compile, FSDP, Lightning Fabric and activation checkpointing put in."""
_COUNTERS = frozenset(("n_averaged",))
"""Names beside the weights of a network that PyTorch's own wrappers count with (`AveragedModel`)."""
_PATHS = ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
_SCALAR, _ARRAY = np.float64().__reduce__()[0], np.zeros(0).__reduce__()[0]
_INERT: list[Any] = [
    *(argparse.Namespace, types.SimpleNamespace),
    *(list, dict, int, float, str, frozenset, complex, decimal.Decimal),
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
    *((pathlib.PurePosixPath, f"pathlib{module}.{kind}") for module in ("", "._local") for kind in _PATHS),
    *(np.dtype, np.ndarray, _SCALAR, _ARRAY),
    *((_SCALAR, "numpy.core.multiarray.scalar"), (_ARRAY, "numpy.core.multiarray._reconstruct")),  # of NumPy 1
    *(getattr(np.dtypes, name) for name in np.dtypes.__all__ if name != "ObjectDType"),
]
"""Classes of plain values beside the weights of a training checkpoint: restoring one runs no code of the file."""
_SHOWN = 4


class BadWeights(UserError, ValueError):
    """A file from which no weights, or not those of the network, can be read."""


def read_weights(path: Path) -> Weights:
    """Read the weights of a network.

    Parameters
    ----------
    path : Path
        What `torch.save` wrote (a state_dict, or a training checkpoint that has one), a safetensors file, the index of
        a sharded one, or a folder with one of them in Hugging Face's form.

    Raises
    ------
    BadWeights
        There are none, or they are in a pickle that only code could restore.
    """
    if path.is_dir():
        return read_weights(weight_files(path)[0])
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    if is_safetensors(path):
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise BadWeights(f"{path}: expected safetensors, got {error}") from None
    return _find_weights(read_checkpoint(path), path)


def weight_files(folder: Path) -> list[Path]:
    """Return the files of weights of a folder in Hugging Face's form, with their index first where there is one.

    Raises
    ------
    BadWeights
        There are none.
    """
    for name in ("model.safetensors", INDEXES[0], "pytorch_model.bin", INDEXES[1]):
        if (folder / name).is_file():
            shards = _shards(folder / name) if name in INDEXES else {}
            return [folder / name, *(folder / shard for shard in sorted(set(shards.values())))]
    raise BadWeights(f"{folder}: expected weights as model.safetensors, pytorch_model.bin or shards of one, got none")


def is_safetensors(path: Path) -> bool:
    """Return whether a file is called so, or begins as safetensors do: with the length of a JSON object."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def refuse_damaged(path: Path) -> None:
    """Compare a zip file's contents with their checksums, which torch does not: a damaged weight is another number.

    Raises
    ------
    BadWeights
        One differs, or cannot be read. A file that is no zip file has no checksums and passes.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        damaged = f"{error}"
    if damaged is not None:
        raise BadWeights(
            f"{path}: expected contents with their checksums, got another one in {damaged:.100}: the file is damaged, "
            "copy or save it again"
        )


def read_checkpoint(path: Path) -> Any:
    """Read what `torch.save` wrote, as far as that takes no code.

    Raises
    ------
    BadWeights
        It was written by something else, or is damaged, or has objects that only code could restore: nothing of it
        was run.
    """
    refuse_damaged(path)
    try:
        with torch.serialization.safe_globals(_INERT), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        if named is None:
            raise BadWeights(
                f"{path}: expected a file that torch.save wrote, got another, or a damaged one: save it with "
                "torch.save(model.state_dict(), FILE)"
            ) from None
        raise BadWeights(
            f"{path}: expected a state_dict, got a pickle of {named[1]}, which could run code and is not loaded: save "
            "it again with torch.save(model.state_dict(), FILE)"
        ) from None
    except (EOFError, KeyError, OSError, RuntimeError, ValueError, AttributeError, IndexError, TypeError) as error:
        message = " ".join(str(error).split())
        raise BadWeights(f"{path}: expected a file that torch.save wrote, got {message:.200}") from None


def _find_weights(loaded: Any, path: Path) -> Weights:
    """Return the weights of what a checkpoint holds, or of what it holds below one of its keys."""
    if not isinstance(loaded, Mapping):
        got = (
            f"{type(loaded).__name__} of {few(map(_kind, loaded))}"
            if isinstance(loaded, list | tuple)
            else _kind(loaded)
        )
        raise BadWeights(f"{path}: expected a state_dict, got {got}: save it with torch.save(model.state_dict(), FILE)")
    inside = _weights_inside(loaded)
    if len(inside) == 1:
        return dict(next(iter(inside.values())))
    if inside:
        raise BadWeights(f"{path}: expected the weights of one network, got {few(inside)}: save the one to be served")
    others = {name: value for name, value in loaded.items() if not (torch.is_tensor(value) and isinstance(name, str))}
    if any(map(torch.is_tensor, loaded.values())):
        got = few(f"{name} ({_kind(value)})" for name, value in others.items())
        raise BadWeights(f"{path}: expected a state_dict, names with their tensors alone, got also {got}")
    got = few(f"{name} ({_kind(value)})" for name, value in loaded.items())
    raise BadWeights(f"{path}: expected a state_dict, got a dict of {got or 'nothing'}")


def _weights_inside(loaded: Mapping[Any, Any]) -> dict[str, Mapping[str, torch.Tensor]]:
    """Return key -> weights below it, at any depth; those below the first of `_KEYS` alone where there is one."""
    if is_state_dict(loaded):
        return {"": loaded}
    inside = {
        str(key): weights
        for key, value in loaded.items()
        if isinstance(value, Mapping) and not str(key).startswith("optim") and (weights := _weights_inside(value))
    }
    if first := next((key for key in _KEYS if key in inside), None):
        inside = {first: inside[first]}
    return {f"{key}.{inner}".rstrip("."): weights for key, below in inside.items() for inner, weights in below.items()}


def _kind(value: object) -> str:
    return type(value).__name__


def is_state_dict(value: object) -> bool:
    """Return whether something is a mapping from names to tensors."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and torch.is_tensor(tensor) for name, tensor in value.items())
    )


def _shards(index: Path) -> dict[str, str]:
    """Return name -> file of the shard that holds it."""
    try:
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        plain = all(Path(shard).name == shard for shard in shards.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadWeights(f"{index}: expected an object with weight_map, got {type(error).__name__}: {error}") from None
    if not plain or not shards:
        raise BadWeights(f"{index}: expected weight_map with names of files beside it, got {few(shards.values())}")
    return shards


def _read_shards(index: Path) -> Weights:
    shards = _shards(index)
    weights: Weights = {}
    for shard in sorted(set(shards.values())):
        if not (index.parent / shard).is_file():
            raise BadWeights(f"{index}: expected the shard {shard} beside it, got none")
        held = read_weights(index.parent / shard)
        weights |= {name: value for name, value in held.items() if shards.get(name, shard) == shard}
    if missing := sorted(shards.keys() - weights.keys()):
        raise BadWeights(f"{index}: expected {few(missing)} in the shards, got none")
    return weights


def without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Return name -> the name without the parts that wrappers of networks put in; names that then agree stay."""
    short = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in names}
    return short if len(set(short.values())) == len(short) else {name: name for name in short}


def fit_weights(weights: Weights, network: nn.Module, path: Path) -> Weights:
    """Load weights into a network as PyTorch does, and return its state_dict.

    Parameters
    ----------
    weights : dict
        As read: names may begin with what a Lightning module calls the network (``model.``), or lack what the network
        calls the one inside, and hold parts that wrappers put in (``module.``, ``_orig_mod.``). What PyTorch converts
        as it loads (``weight_g`` of an earlier weight_norm) it does here; a tied weight may be there once.
    network : nn.Module
        The network, untrained.

    Raises
    ------
    BadWeights
        Weights are missing or left over, or have other shapes, or values that the network's types do not hold; names
        them.
    """
    expected = network.state_dict()
    if not is_state_dict(expected):
        extra = [name for name, value in expected.items() if not torch.is_tensor(value)]
        raise BadWeights(f"{path}: expected a network whose state_dict has tensors alone, got one with {few(extra)}")
    short, ours = without_wrappers(weights), without_wrappers(expected)
    if inner := _prefix(set(ours.values()), set(short.values())):  # of a network that is all of this one
        short = {long: inner + name for long, name in short.items()}
    prefix = _prefix(set(short.values()), set(ours.values()))
    named = {name: long for long, name in ours.items()}
    outside = {long for long, name in short.items() if not name.startswith(prefix) and name not in _COUNTERS}
    inside = {long: name.removeprefix(prefix) for long, name in short.items() if name.startswith(prefix)}
    state = {named.get(name, name): weights[long] for long, name in inside.items() if name not in _COUNTERS}
    both = [name for name in expected if name in state]
    for name in both:
        _check_kind(name, state[name], expected[name], path)
    try:
        keys = network.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as error:
        raise BadWeights(f"{path}: expected weights of the network, got {' '.join(str(error).split()):.300}") from None
    loaded = network.state_dict()
    missing = _missing(loaded, set(keys.missing_keys), state, path)
    left_over = sorted({long for long, name in inside.items() if name in keys.unexpected_keys} | outside)
    if missing:
        got = "" if not left_over else f"; it has {few(left_over)}"
        raise BadWeights(f"{path}: expected {few(missing)}, which the network has, got none{got}")
    if left_over:
        raise BadWeights(
            f"{path}: expected the weights of the network alone, got also {few(left_over)}: save its own with "
            "torch.save(network.state_dict(), FILE)"
        )
    for name in both:
        _check_values(name, state[name], loaded[name], path)
    return loaded


def _missing(loaded: Weights, missing: set[str], state: Weights, path: Path) -> list[str]:
    """Return which weights are not there, nor others that share their memory; refuse such that should be equal."""
    places: dict[tuple[Any, ...], list[str]] = {}
    for name, value in loaded.items():
        place = (value.data_ptr(), value.shape, value.stride()) if value.numel() else (name,)
        places.setdefault(place, []).append(name)
    for tied in places.values():
        given = [name for name in tied if name in state]
        if other := [name for name in given[1:] if not torch.equal(state[name], state[given[0]])]:
            raise BadWeights(f"{path}: expected {other[0]} as {given[0]}, with which the network shares it, got others")
    return sorted(name for tied in places.values() if missing.issuperset(tied) for name in tied)


def _check_kind(name: str, given: torch.Tensor, expected: torch.Tensor, path: Path) -> None:
    """Raise `BadWeights` where a tensor cannot stand for the network's."""
    if not is_lazy(expected) and given.shape != expected.shape:
        raise BadWeights(
            f"{path}: expected {name} of shape {list(expected.shape)}, which the network has, got {list(given.shape)}"
        )
    if given.is_quantized or given.is_complex() != expected.is_complex():
        raise BadWeights(f"{path}: expected {name} as {expected.dtype}, got {given.dtype}")
    if expected.is_floating_point() and not given.is_floating_point():
        raise BadWeights(f"{path}: expected {name} as {expected.dtype}, got {given.dtype}")
    if given.is_meta or given.layout != torch.strided:
        raise BadWeights(f"{path}: expected {name} with dense values, got {given.layout} on {given.device}")


def _check_values(name: str, given: torch.Tensor, loaded: torch.Tensor, path: Path) -> None:
    """Raise `BadWeights` where the network's type does not hold the values: a count with a fraction, 1e300."""
    if loaded.is_floating_point():
        lost = bool((loaded.isinf() & given.double().isfinite()).any())
    else:
        lost = not torch.equal(loaded.to(torch.float64), given.to(torch.float64))
    if lost:
        raise BadWeights(f"{path}: expected {name} with values of {loaded.dtype}, got others in {given.dtype}")


def _prefix(names: set[str], expected: set[str]) -> str:
    """Return what names begin with so that most of the rest are expected ones; empty where nothing fits better."""
    hits = collections.Counter(
        name.removesuffix(inner) for inner in expected for name in names if name == inner or name.endswith(f".{inner}")
    )
    return max(hits, key=lambda prefix: (hits[prefix], -len(prefix)), default="")


def few(names: Iterable[str]) -> str:
    """Return the first of several names, and how many more there are."""
    all_names = list(dict.fromkeys(map(str, names)))
    more = f" and {len(all_names) - _SHOWN} more" if len(all_names) > _SHOWN else ""
    return ", ".join(f"{name:.80}" for name in all_names[:_SHOWN]) + more
