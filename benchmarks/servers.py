"""The servers that are compared: ours, TorchServe as it comes, FastAPI. One network in all.

Every TorchServe model has one worker, every server tokens if it has them by default, so
that what differs is configuration and handler. A price model is served by ours only: it is
compared with its own forward pass.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from benchmarks.payloads import PRICE, TICK, ReadJson, Server
from model_defs.return_network import OUTPUTS
from model_defs.tick_classifier import CLASSES
from nautilus_torchserve.inference.model_files import DESCRIPTION, WEIGHTS
from nautilus_torchserve.serving.server.config import free_ports
from nautilus_torchserve.serving.server.torchserve import ServerSettings, TorchServe, start_server
from nautilus_torchserve.user_error import UserError

PROJECT = Path(__file__).resolve().parent.parent
OURS, OURS_MANY = TICK, "tick-many"
PLAIN, PLAIN_MANY = "default", "default-many"
FASTAPI = "fastapi"
NAMES = (OURS, OURS_MANY, PLAIN, PLAIN_MANY, FASTAPI)
_OTHER_BITS = 1e-6
_MANY: Mapping[str, int] = {"batch_size": 64, "max_batch_delay": 1}


class ServerFailed(UserError):
    """A server under test did not come up."""


def unpack_network(archive: Path, folder: Path) -> None:
    """Write an archive's network as ``config.json``, ``weights.safetensors`` and ``model.pt``."""
    folder.mkdir()
    with ZipFile(archive) as packed:
        config = json.loads(packed.read(DESCRIPTION))["network"]["config"]
        (folder / WEIGHTS).write_bytes(packed.read(WEIGHTS))
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(load_file(folder / WEIGHTS), folder / "model.pt")


@contextmanager
def start_all(archive: Path, price: Path | None, network: Path, work: Path) -> Iterator[list[Server]]:
    """Start all servers, in the order of `NAMES`, then a price model's; yield them ready, and stop them at the end.

    Parameters
    ----------
    archive : Path
        Our ``tick.mar``.
    price : Path or None
        Our ``price.mar``, if there is one.
    network : Path
        What `unpack_network` wrote.
    work : Path
        An empty folder for homes and archives.

    Raises
    ------
    StartFailed, NoJava, ManagementError, ServerFailed
    """
    with ExitStack() as stack:
        ours = stack.enter_context(_ours(archive, price, work))
        plain = stack.enter_context(_plain(network, work))
        classes = partial(_read_ours, CLASSES)
        servers = [
            _torchserve(ours, OURS, classes, 0.0),
            _torchserve(ours, OURS_MANY, classes, 0.0),
            _torchserve(plain, PLAIN, _read_rows, _OTHER_BITS),
            _torchserve(plain, PLAIN_MANY, _read_rows, _OTHER_BITS),
            stack.enter_context(_fastapi(network)),
        ]
        if price is not None:
            servers.append(replace(_torchserve(ours, PRICE, partial(_read_ours, OUTPUTS), 0.0), model=PRICE))
        yield servers


@contextmanager
def _ours(archive: Path, price: Path | None, work: Path) -> Iterator[TorchServe]:
    store = work / "models"
    store.mkdir()
    models = {OURS: archive} if price is None else {OURS: archive, PRICE: price}
    for name, path in models.items():
        shutil.copyfile(path, store / f"{name}.mar")
    settings = ServerSettings({name: f"{name}.mar" for name in models}, store, work / "ours", free_ports=True)
    with start_server(settings) as server:
        _register_many(server, f"{OURS}.mar", OURS_MANY, workers=1)
        yield server


@contextmanager
def _plain(network: Path, work: Path) -> Iterator[TorchServe]:
    """Start TorchServe with ports and the API that registers the second model only: so one worker a CPU."""
    store = _plain_store(network, work)
    needed = {"enable_model_api": "true"}
    settings = ServerSettings(
        {PLAIN: "plain.mar"}, store, work / "plain", config=None, properties=needed, free_ports=True
    )
    with start_server(settings) as server:
        _register_many(server, "plain.mar", PLAIN_MANY, workers=os.cpu_count() or 1)
        yield server


def _register_many(server: TorchServe, archive: str, name: str, workers: int) -> None:
    manager = server.management()
    manager.register(archive, model_name=name, initial_workers=workers, **_MANY)
    manager.wait_ready(name, "1.0")


def _plain_store(network: Path, work: Path) -> Path:
    """Make a model store with `benchmarks.plain_handler` and the network."""
    store, content = work / "store", work / "content"
    store.mkdir()
    (content / "model_defs").mkdir(parents=True)
    for name in ("__init__.py", "tick_classifier.py"):
        shutil.copyfile(PROJECT / "model_defs" / name, content / "model_defs" / name)
    for name in ("config.json", "model.pt"):
        shutil.copyfile(network / name, content / name)
    command = [sys.executable, "-m", "model_archiver.model_packaging", "--model-name", "plain", "--version", "1.0"]
    command += ["--handler", str(PROJECT / "benchmarks" / "plain_handler.py")]
    command += ["--extra-files", str(content), "--export-path", str(store)]
    result = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(work)}, capture_output=True, text=True, check=False
    )
    if not (store / "plain.mar").is_file():
        raise ServerFailed(f"torch-model-archiver: {(result.stderr or result.stdout).strip()}")
    return store


@contextmanager
def _fastapi(network: Path, within_s: float = 60.0) -> Iterator[Server]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "benchmarks.fastapi_app", str(network), str(port)]
    process = subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _wait_listening(process, port, within_s)
        yield Server(FASTAPI, f"http://127.0.0.1:{port}/predict", {}, _read_rows, _OTHER_BITS)
    finally:
        process.kill()
        process.wait()


def _wait_listening(process: subprocess.Popen[bytes], port: int, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerFailed(
                f"{FASTAPI}: expected a server on port {port}, got none (are fastapi and uvicorn installed?)"
            )
        time.sleep(0.05)


def _torchserve(server: TorchServe, name: str, read_json: ReadJson, tolerance: float) -> Server:
    headers = {} if server.token is None else {"Authorization": f"Bearer {server.token}"}
    return Server(name, f"{server.inference_url}/predictions/{name}", headers, read_json, tolerance)


def _read_ours(names: tuple[str, ...], content: bytes) -> NDArray[np.float32]:
    outputs = orjson.loads(content)["outputs"]
    return np.array([outputs[name] for name in names], dtype=np.float32).T


def _read_rows(content: bytes) -> NDArray[np.float32]:
    return np.array(orjson.loads(content), dtype=np.float32)
