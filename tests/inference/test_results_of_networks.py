"""What a network returns becomes columns by the outputs' names, or is refused; ONNX programs in their variety."""

from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nautilus_torchserve.inference.model_files import BadArchive
from nautilus_torchserve.inference.models.generic import as_columns
from nautilus_torchserve.inference.programs import load_program
from nautilus_torchserve.training.artefacts.run import Interface, write_artefact_run
from nautilus_torchserve.user_error import UserError

NAMES = ("up", "down", "flat")
TABLE = torch.arange(12.0).reshape(4, 3)
UP, DOWN, FLAT = TABLE.T
LABEL = torch.tensor([0, 1, 2, 0])
Swapped = namedtuple("Swapped", "flat up down")
Other = namedtuple("Other", "a b c")
Labelled = namedtuple("Labelled", "label probabilities")
Partly = namedtuple("Partly", "down b c")


@pytest.mark.parametrize(
    "result",
    [
        TABLE,
        (UP, DOWN, FLAT),
        [UP.unsqueeze(1), TABLE[:, 1:]],
        {"flat": FLAT, "up": UP, "down": DOWN, "hidden": TABLE * 2},
        Swapped(FLAT, UP, DOWN),
        Other(UP, DOWN, FLAT),
        Labelled(LABEL, TABLE),
        Labelled(LABEL, {"flat": FLAT, "up": UP, "down": DOWN}),
        {"logits": TABLE},
        (TABLE, (torch.zeros(1, 4, 8), torch.zeros(1, 4, 8))),
        (TABLE, UP, UP, UP),
    ],
)
def test_parts_are_taken_by_name_else_in_their_order(result: Any) -> None:
    assert torch.equal(as_columns(result, NAMES, 4), TABLE)


@pytest.mark.parametrize(
    "result",
    [
        None,
        UP,
        TABLE[:2],
        torch.complex(TABLE, TABLE),
        Partly(UP, DOWN, FLAT),
        {"a": UP, "b": DOWN, "c": FLAT, "hidden": TABLE},
        {"up": UP, "down": DOWN},
        (TABLE, TABLE * 2),
    ],
)
def test_what_leaves_open_which_part_is_meant_is_refused(result: Any) -> None:
    with pytest.raises(BadArchive, match=r"expected 3 outputs \(up, down, flat\) for each of 4 rows, got "):
        as_columns(result, NAMES, 4)


class OfNine(nn.Module):
    """A network that was traced with the size of its batch in it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.layer(rows.reshape(9, 4))


def test_a_script_of_a_single_batch_size_is_served_in_tiles_of_it(tmp_path: Path) -> None:
    from nautilus_torchserve.inference.model import load_model

    network, run = OfNine(), tmp_path / "run"
    run.mkdir()
    torch.jit.trace(network, torch.zeros(9, 4)).save(str(tmp_path / "net.pt"))
    rows = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)

    write_artefact_run(tmp_path / "net.pt", run, Interface("own", outputs=NAMES, columns=tuple("abcd")))

    model = load_model(run, "1.0")
    with torch.inference_mode():
        expected = network.layer(torch.from_numpy(rows)).numpy()
    assert model.tile_sizes == (9,)
    assert np.abs(model.predict(rows) - expected).max() < 1e-6


def onnx_program(path: Path, classes: list[str] | None = None, outside: str | None = None) -> Path:
    """A linear classifier as scikit-learn's converter writes it, with ZipMap, or a layer with its weights outside."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, numbers, text = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.STRING
    rows = helper.make_tensor_value_info("rows", numbers, [None, 2])
    if classes is None:
        weight = onnx.numpy_helper.from_array(np.eye(2, 3, dtype=np.float32), "weight")
        nodes, outputs = [helper.make_node("MatMul", ["rows", "weight"], ["scores"])], [("scores", numbers)]
        values, weights = [helper.make_tensor_value_info(name, kind, [None, 3]) for name, kind in outputs], [weight]
    else:
        labels = {"classlabels_strings": classes, "domain": "ai.onnx.ml"}
        nodes = [
            helper.make_node(
                "LinearClassifier",
                ["rows"],
                ["label", "scores"],
                coefficients=[1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
                intercepts=[0.0, 0.0, 0.5],
                **labels,
            ),
            helper.make_node("ZipMap", ["scores"], ["probability"], **labels),
        ]
        kind = helper.make_map_type_proto(text, helper.make_tensor_type_proto(numbers, []))
        values = [
            helper.make_tensor_value_info("label", text, [None]),
            helper.make_value_info("probability", helper.make_sequence_type_proto(kind)),
        ]
        weights = []
    graph = helper.make_graph(nodes, "own", [rows], values, weights)
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = {"save_as_external_data": True, "location": outside, "size_threshold": 0} if outside else {}
    onnx.save_model(model, str(path), **options)
    return path


def test_zipmap_of_scikit_learn_is_taken_by_its_classes(tmp_path: Path) -> None:
    program = load_program(onnx_program(tmp_path / "net", ["down", "flat", "up"]), "onnx", torch.device("cpu"))
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0]])

    columns = as_columns(program(rows), NAMES, 2)

    assert columns.tolist() == [[0.5, 1.0, 2.0], [0.5, 3.0, 4.0]]


@pytest.mark.parametrize(
    ("file", "message"), [("numbers.bin", None), ("sub/numbers.bin", "expected external data in files")]
)
def test_external_weights_of_a_program_are_packed_under_the_name_it_has_for_them(
    tmp_path: Path, file: str, message: str | None
) -> None:
    source, run = tmp_path / "source", tmp_path / "run"
    (source / file).parent.mkdir(parents=True)
    run.mkdir()
    path, interface = onnx_program(source / "net.onnx", outside=file), Interface("own", outputs=NAMES)

    if message is None:
        assert "files" in write_artefact_run(path, run, interface)
        assert (run / file).is_file()
        (source / file).unlink()
        message = f"expected {file}, which holds weights of it, beside it, got none"
    with pytest.raises(UserError, match=message):
        write_artefact_run(path, run, interface)
