"""A TorchServe with models of texts, made once a session, and homes and model stores of a test's own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nautilus_torchserve.serving.server.processes import CONFIG
from nautilus_torchserve.serving.server.start_plan import ServerSettings
from nautilus_torchserve.serving.server.state import STATE
from nautilus_torchserve.serving.server.torchserve import TorchServe, start_server
from support import BATCH


@pytest.fixture(scope="session")
def news_server(news_archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    """A server with the models of `news_archives`, and ``sentiment-batched``, which waits for `BATCH` requests."""
    archives = {model: path.name for model, path in news_archives.items()}
    store, home = news_archives["sentiment"].parent, tmp_path_factory.mktemp("news-server")
    with start_server(ServerSettings(archives, store, home, free_ports=True)) as server:
        manager = server.management()
        manager.register(archives["sentiment"], model_name="sentiment-batched", batch_size=BATCH, max_batch_delay=1000)
        manager.wait_ready("sentiment-batched", "1.0")
        yield server


@pytest.fixture
def store(tick_archive: Path, tmp_path: Path) -> Path:
    """A model store of its own with ``tick.mar``."""
    (tmp_path / "store").mkdir()
    shutil.copyfile(tick_archive, tmp_path / "store" / "tick.mar")
    return tmp_path / "store"


@pytest.fixture
def settings(store: Path, tmp_path: Path) -> ServerSettings:
    return ServerSettings(None, store, tmp_path / "home", free_ports=True)


@pytest.fixture
def restored(tick_server: TorchServe) -> Iterator[Path]:
    """The home of the session's server, whose files may be damaged until the test ends."""
    files = {path: path.read_bytes() for path in (tick_server.home / STATE, tick_server.home / CONFIG)}
    yield tick_server.home
    for path, content in files.items():
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(content)
