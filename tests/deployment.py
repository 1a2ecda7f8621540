"""A server for rollouts, with keys and archives."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tick_versions import made

from nautilus_torchserve.release.rollout.gates import Limits
from nautilus_torchserve.release.rollout.journal import FOLDER
from nautilus_torchserve.release.rollout.target import Target, local_target
from nautilus_torchserve.serving.server.torchserve import TorchServe

QUICK = Limits(watch_s=0.3, drain_s=0.1, latency_requests=20, latency_add_ms=1000.0)
"""Limits that hold on a busy machine, too; latency has tests of its own."""


@dataclass(frozen=True)
class Deployment:
    """A server that serves ``tick`` 1.0, with keys and archives for rollouts to it."""

    server: TorchServe
    archive: Path
    """The archive of ``tick`` 1.0."""
    key: Path
    trusted: Path
    folder: Path

    @property
    def target(self) -> Target:
        return local_target(self.server.home)

    def make(self, version: str, code: str = "", key: Path | None = None, without: tuple[str, ...] = ()) -> Path:
        """Write a signed archive of this version outside of the model store."""
        return made(self.archive, self.folder / f"tick-{version}.mar", version, key or self.key, code, without)

    def first(self, code: str) -> None:
        """Make a version with this code the only one, without a rollout."""
        manager = self.server.management()
        version = f"1.{len(self.files())}.{abs(hash(code)) % 997}"
        self.make(version, code).rename(self.server.model_store / f"tick-{version}.mar")
        manager.register(f"tick-{version}.mar", model_name="tick", batch_size=1, max_batch_delay=1)
        manager.wait_ready("tick", version)
        manager.set_default("tick", version)
        for other in manager.versions("tick").keys() - {version}:
            manager.unregister("tick", other)

    def files(self) -> set[str]:
        """Return the names of the files in the model store, without the rollouts' journals."""
        return {path.name for path in self.server.model_store.iterdir()} - {FOLDER}


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process take a byte, by the kernel's limit on the size of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
