"""Archives that other people made with torch-model-archiver: they serve, and are not taken for ours."""

import json
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
import requests

from nautilus_torchserve.serving.client.archive_file import UnreadableArchive, check_handler
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.server.torchserve import ServerSettings, TorchServe, start_server
from nautilus_torchserve.wire.errors import InvalidResponse

NET = """
import torch
class SpreadNet(torch.nn.Module):
    def forward(self, rows):
        return rows @ torch.tensor([0.5, -0.25, 0.125])
"""
HANDLER = """
import torch
from ts.torch_handler.base_handler import BaseHandler
{net}
class SpreadHandler(BaseHandler):
    def initialize(self, context):
        self.manifest = context.manifest
        self.model = SpreadNet().eval()
        self.initialized = True
    def preprocess(self, requests):
        return torch.tensor([request["body"]["row"] for request in requests], dtype=torch.float32)
    def postprocess(self, answer):
        return [{{"spread": value}} for value in answer.tolist()]
"""
FUNCTION = """
class Helper:
    pass
class Other:
    pass
def handle(data, context):
    return None if data is None else [{"spread": sum(request["body"]["row"])} for request in data]
"""
ARCHIVES = {
    "spread": {"spread_handler.py": HANDLER.format(net="from spread_net import SpreadNet"), "spread_net.py": NET},
    "beside": {"beside_handler.py": HANDLER.format(net=NET)},
    "function": {"function_handler.py": FUNCTION},
    "image_classifier": {"index_to_name.json": "{}"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Name -> archive, each with a handler of its own kind."""
    folder = tmp_path_factory.mktemp("foreign")
    for name, members in ARCHIVES.items():
        handler = name if name == "image_classifier" else f"{name}_handler.py"
        manifest = {"runtime": "python", "model": {"modelName": name, "handler": handler, "modelVersion": "2.1"}}
        with ZipFile(folder / f"{name}.mar", "w") as archive:
            for member, text in {**members, "MAR-INF/MANIFEST.json": json.dumps(manifest)}.items():
                archive.writestr(member, text)
    return folder


@pytest.fixture(scope="module")
def served(tick_server: TorchServe, tick_archive: Path, store: Path) -> Iterator[TorchServe]:
    """The session's server with the two that TorchServe can load beside its own."""
    manager = tick_server.management()
    for name in ("spread", "function"):
        copy = tick_archive.parent / f"{name}.mar"
        copy.write_bytes((store / copy.name).read_bytes())
        manager.register(copy.name, model_name=name)
        manager.wait_ready(name, "2.1")
    yield tick_server
    for name in ("spread", "function"):
        manager.unregister(name, "2.1")
        (tick_archive.parent / f"{name}.mar").unlink()


@pytest.mark.parametrize(
    ("model", "spread", "message"),
    [
        ("spread", 0.5, "/predictions/spread: the model does not describe itself, got None: a model that is traded on"),
        ("function", 7.0, "/predictions/function: 503: Prediction failed; the model may not describe itself: "),
    ],
)
def test_a_foreign_model_serves_and_is_not_taken_for_one_of_ours(
    served: TorchServe, model: str, spread: float, message: str
) -> None:
    answer = requests.post(
        f"{served.inference_url}/predictions/{model}",
        json={"row": [1, 2, 4]},
        headers={"Authorization": f"Bearer {served.token}"},
        timeout=30,
    )

    assert answer.json() == {"spread": spread}
    with pytest.raises(InvalidResponse, match=message):
        connect(served.inference_url, model, token=served.token)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "spread",
            r"spread.mar: expected a model_class of the handler in spread_handler\.py, got SpreadHandler without ",
        ),
        ("function", "function.mar: expected one class in function_handler.py to run it in process, got Helper, Other"),
        ("beside", r"beside.mar: beside_handler\.py:\d+: expected one class, TorchServe loads no handler with more"),
        ("image_classifier", r"expected handler 'image_classifier' as image_classifier\.py in the archive, got one of"),
    ],
)
def test_a_foreign_archive_in_process_is_refused_in_one_sentence(store: Path, name: str, message: str) -> None:
    with pytest.raises(UnreadableArchive, match=message):
        connect(f"mar:{store / name}.mar", "tick")


def test_a_handler_that_no_worker_loads_is_refused_before_a_server_is_started(store: Path, tmp_path: Path) -> None:
    for name in ("spread", "function", "image_classifier"):
        check_handler(store / f"{name}.mar")

    with pytest.raises(UnreadableArchive, match=r"beside_handler\.py:\d+: expected one class"):
        start_server(ServerSettings({"beside": "beside.mar"}, store, tmp_path / "home", free_ports=True))
    assert not (tmp_path / "home" / "logs").exists()
