"""Files and folders of trained models that are not packed, with what to do about each."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from nautilus_torchserve.user_error import InvalidArgument

_TO_ONNX = "export the model as ONNX ({}) and pack that"
_BEGINNINGS = (
    (0, b"GGUF", "GGUF, quantised weights of llama.cpp", "pack the Hugging Face folder that it was made of"),
    (0, b"\x89HDF", "HDF5, as Keras writes", _TO_ONNX.format("tf2onnx")),
    (4, b"TFL3", "TensorFlow Lite", _TO_ONNX.format("tf2onnx, from its Keras model")),
    (4, b"ET12", "ExecuTorch", "pack the torch.export program (.pt2) that it was made of"),
    (0, b"ftrt", "a TensorRT engine", "pack the ONNX program that it was built from"),
    (0, b"\x93NUMPY", "a NumPy array", "save weights with torch.save(model.state_dict(), FILE)"),
    (0, b"CBM1", "CatBoost", _TO_ONNX.format("save_model(FILE, format='onnx')")),
    (0, b"tree\nversion", "LightGBM", _TO_ONNX.format("onnxmltools.convert_lightgbm")),
    (0, b'{"learner"', "XGBoost", _TO_ONNX.format("onnxmltools.convert_xgboost")),
    (0, b"{L\0\0\0\0\0\0\0\x07learner", "XGBoost", _TO_ONNX.format("onnxmltools.convert_xgboost")),
    (0, b"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself with git lfs pull"),
    (0, b"<!DOCTYPE", "a web page", "download the file itself"),
    (0, b"<html", "a web page", "download the file itself"),
    (0, b"\x1f\x8b", "a gzip file", "unpack it first"),
    (257, b"ustar", "a tar archive", "unpack it first"),
)
"""Place and bytes that a file has there, what it is, and what to do."""
_PICKLED = (
    (b"sklearn", _TO_ONNX.format("skl2onnx")),
    (b"xgboost", _TO_ONNX.format("onnxmltools.convert_xgboost")),
    (b"lightgbm", _TO_ONNX.format("onnxmltools.convert_lightgbm")),
    (b"catboost", _TO_ONNX.format("save_model(FILE, format='onnx')")),
)
"""Packages whose objects a pickle may hold, and what to do."""
_MEMBERS: tuple[tuple[Callable[[str], bool], str, str], ...] = (
    (lambda name: name == "MAR-INF/MANIFEST.json", "a model archive", "serve it as it is"),
    (
        lambda name: name == "model.weights.h5",
        "Keras",
        _TO_ONNX.format("tf2onnx, or model.export(FILE, format='onnx')"),
    ),
    (
        lambda name: re.fullmatch(r"[^/]+\.npy", name) is not None,
        "NumPy arrays",
        "save weights with torch.save(model.state_dict(), FILE)",
    ),
    (lambda name: re.fullmatch(r"[^/]+\.(pt|pth|onnx|safetensors)", name) is not None, "a zip file", "unpack it first"),
)
"""Whether a zip file with a member of a name is something, what it is, and what to do."""
_DCP = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch DIR FILE"
_FOLDERS = (
    ("adapter_config.json", "an adapter of PEFT", "merge it (model.merge_and_unload().save_pretrained(DIR))"),
    ("adapter_model.safetensors", "an adapter of PEFT", "merge it (model.merge_and_unload().save_pretrained(DIR))"),
    (".metadata", "a sharded checkpoint of torch.distributed", f"make one file of it ({_DCP})"),
    ("*.distcp", "a sharded checkpoint of torch.distributed", f"make one file of it ({_DCP})"),
    ("zero_pp_rank_*", "a sharded checkpoint of DeepSpeed", "make one file of it (python zero_to_fp32.py DIR FILE)"),
    ("*/zero_pp_rank_*", "a sharded checkpoint of DeepSpeed", "make one file of it (python zero_to_fp32.py DIR FILE)"),
    ("*/mp_rank_*_model_states.pt", "a checkpoint of DeepSpeed", "pack the file mp_rank_00_model_states.pt in it"),
    ("saved_model.pb", "a SavedModel of TensorFlow", _TO_ONNX.format("tf2onnx")),
    ("snapshots/*", "a cache of Hugging Face", "pack the folder snapshots/REVISION in it"),
)
"""Pattern of names in a folder, what it is, and what to do."""
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_FILES = ("*.onnx", "*.pt", "*.pth", "*.ckpt", "*.pt2")
_OTHER_WEIGHTS = ("*.gguf", "*.h5", "*.msgpack")
_HEAD = 512


def refuse_foreign(path: Path) -> None:
    """Refuse what is known not to be packed; nothing is read but the beginning of a file, or a table of contents.

    Raises
    ------
    InvalidArgument
        Says what it is and what to do.
    """
    found = _in_folder(path) if path.is_dir() else _in_file(path)
    if found is not None:
        raise InvalidArgument(f"{path}: expected a trained model of PyTorch or ONNX, got {found[0]}: {found[1]}")


def _in_folder(path: Path) -> tuple[str, str] | None:
    for pattern, kind, remedy in _FOLDERS:
        if next(path.glob(pattern), None) is not None:
            return kind, remedy
    if any(next(path.glob(pattern), None) for pattern in _WEIGHTS):
        return None
    for patterns, remedy in (
        (_FILES, "pack one of its files"),
        (_OTHER_WEIGHTS, "save the model with save_pretrained of PyTorch's class, as safetensors"),
    ):
        if names := sorted(file.name for pattern in patterns for file in path.glob(pattern)):
            return f"a folder with {', '.join(names):.200}", remedy
    return None


def _in_file(path: Path) -> tuple[str, str] | None:
    if path.suffix == ".distcp" or path.name == "adapter_model.safetensors":
        return _in_folder(path.parent)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    for place, beginning, kind, remedy in _BEGINNINGS:
        if head[place:].lower().startswith(beginning.lower()):
            return kind, remedy
    if head[:1] in (b"\x80", b"x"):  # a pickle, or what joblib compresses
        for package, remedy in _PICKLED:
            if package in head:
                return f"a pickle of {package.decode()}, which could run code and is not loaded", remedy
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return None
    return next(((kind, remedy) for matches, kind, remedy in _MEMBERS if any(map(matches, names))), None)
