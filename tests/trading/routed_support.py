"""Several versions of a model on a running server, and splits between them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.serving.server.management import ManagementClient
from nautilus_torchserve.traffic.split import Kind, Split
from nautilus_torchserve.traffic.store import TrafficStore

Register = Callable[..., None]


@contextmanager
def registering(manager: ManagementClient, store: Path) -> Iterator[Register]:
    """Yield a function that registers versions of a model, made of one run; they are unregistered afterwards."""
    registered: list[tuple[str, str]] = []

    def register(model: str, run: Path, *versions: str) -> None:
        for version in versions:
            built = build_archive(model.partition("-")[0], run, version, store / "next").path
            archive = built.rename(store / f"{model}-{version}.mar")
            manager.register(archive.name, model_name=model)
            registered.append((model, version))
        for version in versions:
            manager.wait_ready(model, version)

    yield register
    for model, version in reversed(registered):  # the default one goes last, or TorchServe refuses
        if version in {version_info["modelVersion"] for version_info in manager.describe(model, "all")}:
            manager.unregister(model, version)


def start(url: str, model: str, share: float, **changes: object) -> Split:
    """Start a split in a store."""
    split = {"name": "exp-1", "kind": Kind.EXPERIMENT, "baseline": "1.0", "challenger": "1.1", **changes}
    with TrafficStore(url) as store:
        return store.start(Split(model=model, share=share, **split))


def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
