"""An archive whose model answers garbage in this process: refused as over HTTP, in a sentence."""

import json
from collections.abc import Iterator
from zipfile import ZipFile

import numpy as np
import pytest
from misbehaving_server import CLASSES, METADATA

from nautilus_torchserve.serving.client.client import InferenceClient, connect
from nautilus_torchserve.wire import errors

MODEL = """
import json
import numpy as np
RIGHT = np.array([[0.25, 0.25, 0.5]], np.float32)
TABLES = [
    RIGHT, RIGHT * np.nan, RIGHT * np.inf, RIGHT * 0, RIGHT + 1, RIGHT * 2, RIGHT[:, :2], RIGHT[0], RIGHT[:0],
    RIGHT.astype(float), RIGHT.tolist(), None,
]
class GarbageModel:
    def __init__(self, folder, version):
        pass
    def metadata(self):
        return json.loads({metadata!r})
    def predict(self, inputs):
        number = int(inputs[0, 0])
        if number == len(TABLES):
            raise KeyError("a bug of the archive's own")
        return TABLES[number]
    def explanations(self, inputs, output):
        return [{{"attributions": [None] * 4}}]
"""
HANDLER = """
from garbage_model import GarbageModel
class GarbageHandler:
    model_class = GarbageModel
"""
KINDS = [
    None,
    errors.OutputNotFinite,
    errors.OutputNotFinite,
    *[errors.OutputOutOfRange] * 3,
    *[errors.InvalidResponse] * 6,
    errors.ServerFault,
]
"""What a row that begins with this position's number ends with."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceClient]:
    path = tmp_path_factory.mktemp("garbage") / "garbage.mar"
    model = {"modelName": "garbage", "handler": "garbage_handler.py", "modelVersion": "1.0"}
    with ZipFile(path, "w") as archive:
        archive.writestr("garbage_handler.py", HANDLER)
        archive.writestr("garbage_model.py", MODEL.format(metadata=json.dumps(METADATA)))
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": model}))
    with connect(f"mar:{path}", "garbage") as connected:
        yield connected


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_a_models_table_is_checked(number: int, client: InferenceClient) -> None:
    row, kind = np.array([[number, 0, 0, 0]], np.float32), KINDS[number]
    if kind is None:
        assert [client.predict(row).outputs[name].item() for name in CLASSES] == [0.25, 0.25, 0.5]
        return
    with pytest.raises(errors.RequestError) as caught:
        client.predict(row)
    assert type(caught.value) is kind
    assert len(str(caught.value)) < 500


def test_a_models_explanations_are_checked(client: InferenceClient) -> None:
    with pytest.raises(errors.InvalidResponse, match=r"explanation 0: expected attributions of shape \[4\], got"):
        client.explain(np.zeros((1, 4), np.float32))
