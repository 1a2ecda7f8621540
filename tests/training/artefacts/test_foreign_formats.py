"""Files and folders that are not packed: each is called what it is, with what to do."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nautilus_torchserve.training.artefacts.kinds import recognise
from nautilus_torchserve.user_error import InvalidArgument


def zipped(name: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, b"")
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.gguf", b"GGUF\x03\x00", "got GGUF, .*: pack the Hugging Face folder"),
        ("m.h5", b"\x89HDF\r\n", "got HDF5, as Keras writes: export the model as ONNX"),
        ("m.keras", zipped("model.weights.h5"), "got Keras: export the model as ONNX"),
        ("m.tflite", b"\x1c\x00\x00\x00TFL3", "got TensorFlow Lite"),
        ("m.pte", b"\x1c\x00\x00\x00ET12", r"got ExecuTorch: pack the torch\.export program"),
        ("m.npz", zipped("weight.npy"), r"got NumPy arrays: save weights with torch\.save"),
        ("m.json", b'{"learner":{}}', "got XGBoost: export the model as ONNX"),
        ("m.txt", b"tree\nversion=v4\n", "got LightGBM: export the model as ONNX"),
        ("m.pt", b"version https://git-lfs.github.com/spec/v1\n", "got a pointer of Git LFS: .* git lfs pull"),
        ("m.pt", b"<!doctype html><html>", "got a web page: download the file itself"),
        ("m.pt.gz", b"\x1f\x8b\x08", "got a gzip file: unpack it first"),
        ("m.zip", zipped("model.pt"), "got a zip file: unpack it first"),
        ("m.mar", zipped("MAR-INF/MANIFEST.json"), "got a model archive: serve it as it is"),
        ("m.pkl", b"\x80\x04\x8c\x14sklearn.linear_model.", "got a pickle of sklearn, which could run code .*skl2onnx"),
        ("m.distcp", b"", "got a sharded checkpoint of torch.distributed"),
        ("lora/adapter_config.json", b"{}", r"lora: .* got an adapter of PEFT: merge it"),
        ("dcp/.metadata", b"", "got a sharded checkpoint of torch.distributed: make one file of it"),
        ("ds/global_step1/zero_pp_rank_0_mp_rank_00_optim_states.pt", b"", "of DeepSpeed: .*zero_to_fp32.py"),
        ("tf/saved_model.pb", b"", "got a SavedModel of TensorFlow: export the model as ONNX"),
        ("models--a--b/snapshots/abc/config.json", b"{}", "got a cache of Hugging Face: pack the folder snapshots/"),
        ("runs/best.pt", b"", "got a folder with best.pt: pack one of its files"),
        ("hf/model.q4.gguf", b"", "got a folder with model.q4.gguf: save the model with save_pretrained"),
    ],
)
def test_it_is_called_what_it_is(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)

    with pytest.raises(InvalidArgument, match=message) as refusal:
        recognise(tmp_path / Path(name).parts[0])

    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("make", [Path, lambda path: path.symlink_to(path.with_name("none")) or path])
def test_what_is_not_there_is_refused(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="expected a file or folder of a trained model, got none"):
        recognise(make(tmp_path / "m.pt"))
