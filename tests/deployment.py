"""A server that versions are rolled out to, with what a rollout needs."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tick_versions import made

from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.journal import FOLDER
from nautilus_torchserve.release.rollout.target import Target, own_target
from nautilus_torchserve.serving.server.torchserve import TorchServe

QUICK = Limits(watch_s=0.3, drain_s=0.1, latency_requests=20, latency_add_ms=1000.0)
"""Limits that no busy machine breaks: latency is the affair of the tests that are about it."""


@dataclass(frozen=True)
class Desk:
    """A server that serves ``tick`` 1.0, with what a rollout to it needs."""

    server: TorchServe
    archive: Path
    """What ``tick`` 1.0 was built as."""
    key: Path
    trusted: Path
    folder: Path

    @property
    def target(self) -> Target:
        return own_target(self.server.home)

    def make(self, version: str, code: str = "", key: Path | None = None, without: tuple[str, ...] = ()) -> Path:
        """A signed archive of this version, elsewhere than in the model store."""
        return made(self.archive, self.folder / f"tick-{version}.mar", version, key or self.key, code, without)

    def first(self, code: str) -> None:
        """Make a version with this code the only one, by hand."""
        manager = self.server.management()
        version = f"1.{len(self.files())}.{abs(hash(code)) % 997}"
        self.make(version, code).rename(self.server.model_store / f"tick-{version}.mar")
        manager.register(f"tick-{version}.mar", model_name="tick", batch_size=1, max_batch_delay=1)
        manager.wait_ready("tick", version)
        manager.set_default("tick", version)
        for each in manager.versions("tick").keys() - {version}:
            manager.unregister("tick", each)

    def files(self) -> set[str]:
        """What lies in the model store, but for what rollouts remember there."""
        return {path.name for path in self.server.model_store.iterdir()} - {FOLDER}


@contextmanager
def full_disk() -> Iterator[None]:
    """Have no file of this process take a byte: the kernel's limit on the size of files stands for the disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
