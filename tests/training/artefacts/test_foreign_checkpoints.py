"""Trained models in files of other makes: each computes what its network computed, or is refused in one sentence."""

import argparse
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from model_defs.tick_classifier import TickClassifier, TickClassifierConfig
from nautilus_torchserve.inference.model import load_model
from nautilus_torchserve.models.spec import FeatureSet, ModelSpec, Network, Output
from nautilus_torchserve.training.artefacts.run import Interface, write_artefact_run
from nautilus_torchserve.user_error import UserError

SPEC = ModelSpec(
    name="foreign",
    networks=(Network("mlp", "model_defs.tick_classifier:TickClassifierConfig"),),
    features=FeatureSet(data=("trades",), schema="nautilus_torchserve.features.tick:tick_schema"),
    outputs=(Output("up"), Output("down"), Output("flat")),
    activation="softmax",
)
BY_NAMES = Interface("foreign", outputs=("up", "down", "flat"), columns=("a", "b", "c", "d"), activation="softmax")
BY_SPEC = Interface(spec=SPEC)


@pytest.fixture(scope="module")
def network() -> TickClassifier:
    torch.manual_seed(3)
    return TickClassifier(TickClassifierConfig()).eval()  # type: ignore[return-value]


def prefixed(network: nn.Module, *prefixes: str) -> dict[str, torch.Tensor]:
    return {f"{''.join(prefixes)}{name}": value for name, value in network.state_dict().items()}


def saved(content: Callable[[nn.Module], object], name: str = "model.pt", **options: Any) -> Callable[..., Path]:
    def write(network: nn.Module, folder: Path) -> Path:
        torch.save(content(network), folder / name, **options)
        return folder / name

    return write


def checkpoint(**beside: object) -> Callable[[nn.Module], object]:
    """A training checkpoint with the weights below the key whose value is an ellipsis."""

    def content(network: nn.Module) -> object:
        return {key: network.state_dict() if value is ... else value for key, value in beside.items()}

    return content


def lightning(*prefixes: str) -> Callable[[nn.Module], object]:
    def content(network: nn.Module) -> object:
        parameters = {"lr": 1e-3, "hidden": np.float64(32)}
        return {
            "epoch": 3,
            "pytorch-lightning_version": "2.5.1",
            "state_dict": prefixed(network, *prefixes),
            "optimizer_states": [torch.optim.Adam(network.parameters()).state_dict()],
            "hyper_parameters": parameters,
        }

    return content


def as_safetensors(*prefixes: str) -> Callable[..., Path]:
    def write(network: nn.Module, folder: Path) -> Path:
        save_file(
            {name: value.contiguous() for name, value in prefixed(network, *prefixes).items()}, folder / "w.safetensors"
        )
        return folder / "w.safetensors"

    return write


def sharded(suffix: str, index: str, whole_folder: bool) -> Callable[..., Path]:
    def write(network: nn.Module, folder: Path) -> Path:
        weights = network.state_dict()
        shards = {name: f"model-{number % 2 + 1:05}-of-00002.{suffix}" for number, name in enumerate(weights)}
        for shard in set(shards.values()):
            part = {name: weights[name].contiguous() for name in weights if shards[name] == shard}
            save_file(part, folder / shard) if suffix == "safetensors" else torch.save(part, folder / shard)
        (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": shards}))
        return folder if whole_folder else folder / index

    return write


def exported(batch: int | None) -> Callable[..., Path]:
    def write(network: nn.Module, folder: Path) -> Path:
        shapes = None if batch else ({0: torch.export.Dim("batch")},)
        program = torch.export.export(network, (torch.zeros(batch or 2, 4),), dynamic_shapes=shapes)
        torch.export.save(program, folder / "program.pt2")
        return folder / "program.pt2"

    return write


def torchscript(compile_network: Callable[[nn.Module], Any], name: str = "script.pt") -> Callable[..., Path]:
    def write(network: nn.Module, folder: Path) -> Path:
        compile_network(network).save(str(folder / name))
        return folder / name

    return write


def onnx(network: nn.Module, folder: Path) -> Path:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    torch.onnx.export(
        network,
        (torch.zeros(1, 4),),
        folder / "net.onnx",
        dynamo=False,
        dynamic_axes={"rows": {0: "n"}},
        input_names=["rows"],
    )
    return folder / "net.onnx"


MAKES: dict[str, tuple[Callable[..., Path], Interface]] = {
    "state_dict": (saved(lambda network: network.state_dict()), BY_SPEC),
    "before torch 1.6": (
        saved(lambda network: network.state_dict(), "old.pth", _use_new_zipfile_serialization=False),
        BY_SPEC,
    ),
    "parameters": (saved(lambda network: dict(network.named_parameters()) | dict(network.named_buffers())), BY_SPEC),
    "half precision": (
        saved(lambda network: {name: value.half() for name, value in network.state_dict().items()}),
        BY_SPEC,
    ),
    "data parallel": (saved(lambda network: prefixed(network, "module.")), BY_SPEC),
    "compiled": (saved(lambda network: prefixed(network, "_orig_mod.")), BY_SPEC),
    "compiled, then parallel": (saved(lambda network: prefixed(network, "module.", "_orig_mod.")), BY_SPEC),
    "parallel, then compiled": (saved(lambda network: prefixed(network, "_orig_mod.", "module.")), BY_SPEC),
    "averaged": (saved(lambda network: torch.optim.swa_utils.AveragedModel(network).state_dict()), BY_SPEC),
    "fully sharded": (saved(lambda network: prefixed(network, "_fsdp_wrapped_module.")), BY_SPEC),
    "lightning": (saved(lightning("model."), "epoch=3.ckpt"), BY_SPEC),
    "lightning with another attribute": (saved(lightning("net."), "last.ckpt"), BY_SPEC),
    "lightning, compiled": (saved(lightning("model.", "_orig_mod."), "last.ckpt"), BY_SPEC),
    "lightning, parallel": (saved(lightning("module.", "model."), "last.ckpt"), BY_SPEC),
    "checkpoint": (saved(checkpoint(epoch=1, model_state_dict=..., optimizer_state_dict={"lr": 1e-3})), BY_SPEC),
    "checkpoint with model": (
        saved(checkpoint(model=..., args=argparse.Namespace(lr=0.1), best=np.float64(0.5))),
        BY_SPEC,
    ),
    "checkpoint with a name of its own": (saved(checkpoint(weights_of_tuesday=..., history=[1.0])), BY_SPEC),
    "safetensors": (as_safetensors(), BY_SPEC),
    "safetensors, parallel": (as_safetensors("module."), BY_SPEC),
    "sharded safetensors": (sharded("safetensors", "model.safetensors.index.json", False), BY_SPEC),
    "folder of shards": (sharded("bin", "pytorch_model.bin.index.json", True), BY_SPEC),
    "traced": (torchscript(lambda network: torch.jit.trace(network, torch.zeros(1, 4))), BY_NAMES),
    "scripted": (torchscript(torch.jit.script, "script.ts"), BY_SPEC),
    "exported": (exported(None), BY_NAMES),
    "exported for eight rows": (exported(8), BY_SPEC),
    "onnx": (onnx, BY_NAMES),
}


@pytest.mark.parametrize("make", MAKES)
def test_a_file_of_any_make_computes_what_its_network_does_alone_and_in_company(
    make: str, network: TickClassifier, rows: np.ndarray, tmp_path: Path
) -> None:
    write, interface = MAKES[make]
    source, run = tmp_path / "source", tmp_path / "run"
    source.mkdir()
    run.mkdir()
    path = write(network, source)

    description = write_artefact_run(path, run, interface)

    model = load_model(run, "1.0")
    assert model.output_names == ("up", "down", "flat")
    assert description["artefact"]["file"] == path.name
    together = model.predict(rows)
    with torch.inference_mode():
        expected = network(torch.from_numpy(rows)).softmax(dim=1).numpy()
    assert np.abs(together - expected).max() < (2e-3 if make == "half precision" else 2e-6)
    for start, stop in ((0, 1), (1, 3), (3, 40), (40, 41)):
        assert (model.predict(rows[start:stop]) == together[start:stop]).all()
    assert np.abs(together.sum(axis=1) - 1).max() < 1e-5


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def pickled(network: nn.Module, folder: Path) -> Path:
    (folder / "model.pkl").write_bytes(pickle.dumps({"hidden.weight": Harmful(folder / "RAN")}))
    return folder / "model.pkl"


def zipped(network: nn.Module, folder: Path) -> Path:
    torch.save({"hidden.weight": Harmful(folder / "RAN")}, folder / "model.pt")
    return folder / "model.pt"


def spoilt_export(network: nn.Module, folder: Path) -> Path:
    """A program whose sample inputs are a pickle with code."""
    path, spoilt = exported(None)(network, folder), folder / "spoilt.pt2"
    with ZipFile(path) as old, ZipFile(spoilt, "w") as new:
        for name in old.namelist():
            is_sample = name.endswith("sample_inputs/model.pt")
            new.writestr(name, zipped(network, folder).read_bytes() if is_sample else old.read(name))
    return spoilt


def resaved(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[..., Path]:
    return saved(lambda network: change(dict(network.state_dict())))


def garbage(name: str, content: bytes) -> Callable[..., Path]:
    def write(network: nn.Module, folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def damaged(write: Callable[..., Path]) -> Callable[..., Path]:
    """One bit of a weight differs."""

    def rewrite(network: nn.Module, folder: Path) -> Path:
        path, weight = write(network, folder), network.state_dict()["hidden.weight"].numpy().tobytes()
        content = bytearray(path.read_bytes())
        content[content.index(weight)] ^= 1
        path.write_bytes(content)
        return path

    return rewrite


class Noisy(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(rows, 0.5, training=True)[:, :3]


class OfTheBatch(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return (rows - rows.mean(dim=0))[:, :3]


REFUSED: dict[str, tuple[Callable[..., Path], Interface, str]] = {
    "whole model": (
        saved(lambda network: network),
        BY_SPEC,
        r"got a pickle of model_defs\.\w+\.TickClassifier, which could run code .*: save it again",
    ),
    "code in a pickle": (pickled, BY_SPEC, r"expected a file that torch\.save wrote, got another"),
    "code in torch's zip": (zipped, BY_SPEC, r"got a pickle of posix\.mkdir"),
    "code in a program": (spoilt_export, BY_NAMES, "expected a program of tensors alone, got one with a pickle"),
    "missing": (
        resaved(lambda weights: weights.pop("output.bias") is None or weights),
        BY_SPEC,
        r"expected output\.bias, which the network has, got none",
    ),
    "left over": (
        resaved(lambda weights: weights | {"extra.weight": torch.ones(1)}),
        BY_SPEC,
        r"alone, got also extra\.weight",
    ),
    "other shape": (
        resaved(lambda weights: weights | {"output.bias": torch.ones(2)}),
        BY_SPEC,
        r"expected output\.bias of shape \[3\], .* got \[2\]: --set",
    ),
    "integers": (
        resaved(lambda weights: weights | {"output.bias": torch.ones(3, dtype=torch.int8)}),
        BY_SPEC,
        r"expected output\.bias as torch\.float32, got torch\.int8",
    ),
    "two networks": (
        resaved(lambda weights: {"actor": weights, "critic": weights}),
        BY_SPEC,
        "the weights of one network, got actor, critic",
    ),
    "no tensors": (saved(lambda network: {"lr": 0.1}), BY_SPEC, "expected a state_dict, got a dict of lr"),
    "a tensor": (saved(lambda network: torch.ones(3)), BY_SPEC, "expected a state_dict, got Tensor"),
    "weights without a network": (
        saved(lambda network: network.state_dict()),
        BY_NAMES,
        "expected --spec FILE, whose network",
    ),
    "not finite": (
        resaved(lambda weights: weights | {"output.bias": torch.full((3,), torch.nan)}),
        BY_SPEC,
        "expected finite",
    ),
    "text": (
        garbage("model.pt", b"no model at all"),
        BY_SPEC,
        "expected one of torch.export, torchscript, onnx, hugging face, weights",
    ),
    "empty": (garbage("model.pt", b""), BY_SPEC, "expected one of torch.export"),
    "half a zip file": (garbage("model.pt", b"PK\x03\x04"), BY_SPEC, "got the beginning of a zip file"),
    "a damaged weight": (damaged(resaved(dict)), BY_SPEC, r"got another one in .*/data/\d+: the file is damaged"),
    "a damaged weight of a program": (
        damaged(torchscript(lambda network: torch.jit.trace(network, torch.zeros(1, 4)))),
        BY_NAMES,
        "the file is damaged",
    ),
    "half a file": (garbage("model.pkl", b"\x80\x02}q"), BY_SPEC, r"expected a file that torch\.save wrote"),
    "number of outputs": (
        torchscript(lambda network: torch.jit.trace(network, torch.zeros(1, 4))),
        Interface("x", outputs=("up", "down"), columns=tuple("abcd")),
        r"expected 2 outputs \(up, down\) for each of 16 rows, got float32 \[16, 3\]",
    ),
    "number of columns": (
        torchscript(lambda network: torch.jit.trace(network, torch.zeros(1, 4))),
        Interface("x", outputs=("up",), columns=tuple("abc")),
        r"float32 rows of shape \[n, 3\], got ",
    ),
    "no columns": (
        torchscript(lambda network: torch.jit.trace(network, torch.zeros(1, 4))),
        Interface("x", outputs=("up",)),
        "expected --columns NAMES",
    ),
    "no outputs": (exported(None), Interface("x"), "expected --outputs NAMES or --spec FILE"),
    "no name": (exported(None), Interface(), "expected --name NAME"),
    "active dropout": (
        torchscript(lambda network: torch.jit.script(Noisy())),
        BY_NAMES,
        "expected equal outputs of two calls with the same rows",
    ),
    "rows of others": (
        torchscript(lambda network: torch.jit.script(OfTheBatch())),
        BY_NAMES,
        "do not depend on the other rows of its batch",
    ),
    "softmax twice": (
        torchscript(lambda network: torch.jit.trace(nn.Sequential(network, nn.Softmax(dim=1)), torch.zeros(1, 4))),
        BY_NAMES,
        "expected logits, which softmax is applied to, got probabilities",
    ),
    "broken program": (
        garbage("net.onnx", b"nothing"),
        BY_NAMES,
        r"net\.onnx: expected (the package onnxruntime|a onnx program)",
    ),
}


@pytest.mark.parametrize("make", REFUSED)
def test_a_file_that_cannot_be_served_is_refused_in_one_sentence_and_nothing_of_it_runs(
    make: str, network: TickClassifier, tmp_path: Path
) -> None:
    write, interface, message = REFUSED[make]
    source, run = tmp_path / "source", tmp_path / "run"
    source.mkdir()
    run.mkdir()
    path = write(network, source)

    with pytest.raises(UserError, match=message) as refusal:
        write_artefact_run(path, run, interface)

    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 600
    assert not (source / "RAN").exists()
