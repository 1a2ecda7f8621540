"""Servers for attacks: an own one in a temporary home, from an archive given or trained for it, or a running one."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from fault_injection.commands import Call, run
from nautilus_torchserve.bundle import BUNDLE
from nautilus_torchserve.serving.server.management import ManagementError
from nautilus_torchserve.serving.server.torchserve import ServerSettings, TorchServe, find_server, start_server
from nautilus_torchserve.user_error import UserError

MODEL, BATCHED = "tick", "tick-many"
BATCH, BATCH_DELAY_MS = 64, 1


class NoServerToAttack(UserError):
    """There is no such server, or nothing is known of the archive that it serves."""


def train_archive(folder: Path) -> Path:
    """Train a small tick classifier on simulated trades and pack it; returns the archive."""
    for arguments in (
        ("train.py", "tick", "--trades", "6000", "--epochs", "3", "--out", f"{folder / 'run'}"),
        ("archive.py", "tick", "--run", f"{folder / 'run'}", "--out", f"{folder / 'built'}"),
    ):
        command = [sys.executable, str(BUNDLE / "scripts" / arguments[0]), *arguments[1:]]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=BUNDLE)
        if result.returncode:
            raise NoServerToAttack(f"{arguments[0]} failed: {result.stderr.strip()[-200:]}")
    return folder / "built" / "tick.mar"


def make_keys(folder: Path) -> None:
    """Make ``alice.key`` and the folder ``trusted`` with its public half, where there are none."""
    if not (folder / "alice.key").exists():
        _must("keys", "alice", "--private", f"{folder / 'alice.key'}", "--trusted", f"{folder / 'trusted'}")


def sign(archive: Path, folder: Path) -> None:
    """Sign an archive with ``alice.key``."""
    _must("sign", f"{archive}", "--key", f"{folder / 'alice.key'}")


def _must(script: str, *arguments: str) -> None:
    with TemporaryDirectory(prefix="attack-call-") as folder:
        status, out, err = run(Call(script, arguments, Path(folder)))
    if status:
        raise NoServerToAttack(f"{script} failed with status {status}: {(out + err).strip()[-300:]}")


@contextmanager
def own_server(archive: Path, folder: Path, batched: bool = False) -> Iterator[TorchServe]:
    """Serve this archive from an empty folder, as ``tick`` and in batches as ``tick-many``; stop at the end."""
    store = folder / "store"
    store.mkdir(parents=True)
    shutil.copyfile(archive, store / f"{MODEL}.mar")
    home = folder / "home"
    server = start_server(ServerSettings({MODEL: f"{MODEL}.mar"}, store, home, free_ports=True))
    try:
        if batched:
            register_batched(server, f"{MODEL}.mar")
        yield server
    finally:
        running = find_server(home)  # another one, where an attack has restarted it
        if running is not None:
            running.stop()


def register_batched(server: TorchServe, archive: str) -> None:
    """Register an archive of the server's model store a second time, for many callers."""
    manager = server.management()
    manager.register(archive, model_name=BATCHED, batch_size=BATCH, max_batch_delay=BATCH_DELAY_MS)
    manager.wait_ready(BATCHED, manager.describe(BATCHED)[0]["modelVersion"])


@contextmanager
def running_server(home: Path, model: str) -> Iterator[tuple[TorchServe, Path, str]]:
    """Yield the server of a home, the archive of its model's default version, and the model's name in batches.

    The archive is registered a second time, in batches, unless a model has that name already, and unregistered at
    the end.

    Raises
    ------
    NoServerToAttack
    """
    server = find_server(home)
    if server is None:
        raise NoServerToAttack(f"{home}: expected a running server, got none: nautilus-torchserve serve start")
    manager = server.management()
    try:
        archive = manager.describe(model)[0]["modelUrl"]
    except ManagementError as error:
        raise NoServerToAttack(f"{model}: expected a model that the server of {home} serves: {error}") from None
    batched = f"{model}-attacked"
    manager.register(archive, model_name=batched, batch_size=BATCH, max_batch_delay=BATCH_DELAY_MS)
    try:
        manager.wait_ready(batched, manager.describe(batched)[0]["modelVersion"])
        yield server, server.model_store / archive, batched
    finally:
        with suppress(ManagementError):
            manager.unregister(batched)
