"""Fixtures made once a session: a trained run, its archive, a running TorchServe."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from nautilus_torchserve.serving.server.torchserve import ServerSettings, TorchServe, find_server, start_server
from nautilus_torchserve.wire.loopback import exempt_loopback
from support import BATCH, PROJECT, SECRETS, call_script

exempt_loopback()  # tests use clients of all kinds on this machine


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of tests/fuzz."""
    parser.addoption("--fuzz", type=int, default=0, help="Calls of commands with damaged inputs; default: 1000.")
    parser.addoption("--fuzz-seed", type=int, default=1, help="Seed of these calls; default: 1.")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Give each process whole files, but of the documentation's tests, which are minutes long, whole pages.

    Files that use `news_server`, whose models take the longest to load, go to the same process.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFilePageOrServer(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            if path == "tests/test_readme.py":
                return nodeid.partition("[")[2].partition(": ")[0] or nodeid
            return "news_server" if uses_news_server(path) else path

    return ByFilePageOrServer(config, log)


@cache
def uses_news_server(path: str) -> bool:
    """Return whether a file of tests names this fixture."""
    return "news_server" in (PROJECT / path).read_text()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the documentation, so that the longest tests are not left to one process at the end."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


settings.register_profile("untimed", deadline=None)  # a machine may be busy with other things
settings.load_profile("untimed")

if TYPE_CHECKING:
    from deployment import Deployment
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling


class SkipWithoutTorch(MetaPathFinder):
    """On a host without torch, which only trades, skips the tests that import it, by way of whatever module."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        if name == "torch":
            pytest.skip("this host has no torch", allow_module_level=True)
        return


if find_spec("torch") is None:
    sys.meta_path.append(SkipWithoutTorch())


@pytest.fixture(scope="session", autouse=True)
def catch_interrupts() -> None:
    """Catch SIGINT, which a suite started in the background ignores, and so would all processes that it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", f"{folder}"]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this process may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", f"{folder}"], check=True)


@pytest.fixture(scope="session")
def fresh_process() -> Iterator[Executor]:
    """Another process, which has no threads: the end of a trace of memory may crash those of a Python before 3.12.9."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield process


@pytest.fixture(scope="session")
def tick_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tick classifier trained on a small simulated market."""
    pytest.importorskip("torch")
    run = tmp_path_factory.mktemp("runs") / "tick"
    result = call_script("scripts/train.py", "tick", "--trades", "6000", "--epochs", "3", "--out", run)
    assert result.exit_code == 0, result.stderr
    return run


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder for archives."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def tick_archive(tick_run: Path, model_store: Path) -> Path:
    """Version 1.0 of the tick classifier, in the model store."""
    from nautilus_torchserve.release.build.archive import build_archive

    return build_archive("tick", tick_run, "1.0", model_store).path


@pytest.fixture(scope="session")
def tick_server(tick_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    """A server with ``tick`` one request at a time, and ``tick-batched``, which waits for `BATCH` of them.

    Started with `SECRETS` in its environment.
    """
    settings = ServerSettings(
        {"tick": tick_archive.name}, tick_archive.parent, tmp_path_factory.mktemp("server"), free_ports=True
    )
    with pytest.MonkeyPatch.context() as environment:
        for name, value in SECRETS.items():
            environment.setenv(name, value)
        environment.setenv("PYTHONPATH", "leaked-folder")
        server = start_server(settings)
    with server:
        manager = server.management()
        manager.register(tick_archive.name, model_name="tick-batched", batch_size=BATCH, max_batch_delay=1000)
        manager.wait_ready("tick-batched", "1.0")
        yield server


@pytest.fixture(scope="session")
def news_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model -> run: unfitted price and sentiment models, and an ensemble with weights for both."""
    from news_run import write_backbone, write_ensemble_run, write_sentiment_run
    from price_run import write_price_run

    folder = tmp_path_factory.mktemp("news")
    runs = {
        "price": write_price_run(folder / "price"),
        "sentiment": write_sentiment_run(folder / "sentiment", write_backbone(folder / "backbone")),
    }
    runs["ensemble"] = write_ensemble_run(  # news moves log odds by 0.5: every text is good news to this model
        folder / "ensemble", runs["price"], runs["sentiment"], weight_price=1.0, weight_sentiment=0.1
    )
    return runs


@pytest.fixture(scope="session")
def news_archives(news_runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model -> archive of `news_runs`, version 1.0."""
    from nautilus_torchserve.release.build.archive import build_archive

    store = tmp_path_factory.mktemp("news-store")
    return {model: build_archive(model, run, "1.0", store).path for model, run in news_runs.items()}


@pytest.fixture(scope="session")
def rows() -> np.ndarray:
    """Typical feature rows, float32 [512, 4]."""
    random = np.random.default_rng(7)
    returns, imbalance, shares = random.normal(0, 2, (512, 1)), random.uniform(-1, 1, (512, 1)), random.random((512, 2))
    return np.hstack([returns, imbalance, shares]).astype(np.float32)


@pytest.fixture(scope="session")
def fresh_version() -> Callable[[], str]:
    """Versions that no test of this session has used."""
    numbers = itertools.count(1)
    return lambda: f"2.{next(numbers)}"


@pytest.fixture(scope="module")
def deployment(tick_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A server of its own with ``tick`` 1.0 for rollouts, started once a module."""
    from deployment import Deployment
    from signed_archives import keys

    folder = tmp_path_factory.mktemp("deployment")
    private, trusted = keys(folder)
    store = folder / "store"
    store.mkdir()
    shutil.copyfile(tick_archive, store / "tick.mar")
    settings = ServerSettings({"tick": "tick.mar"}, store, folder / "home", free_ports=True)
    server = start_server(settings)
    try:
        yield Deployment(server, tick_archive, private, trusted, folder)
    finally:
        running = find_server(settings.home)  # another process, where a test has restarted it
        assert running is not None
        running.stop()
