"""A running TorchServe with models of texts, made once a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nautilus_torchserve.serving.server.torchserve import ServerSettings, TorchServe, start_server
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
