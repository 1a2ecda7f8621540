"""Writes to the model store: verified archives only, complete, and exactly what was verified."""

import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from forged_zip import Entry, entries_of, forge
from signed_archives import EVIL, HONEST, MANIFEST_SAYS, content, keys, mode, packed, signed

from nautilus_torchserve.release.rollout.model_store import store_verified
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.signing.archive_signature import Untrusted, sign_archive, verify_archive
from nautilus_torchserve.wire.digest import MANIFEST
from support import PROJECT


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Alice's private key, and the folder that trusts her."""
    return keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def held(store: Path) -> list[str]:
    return sorted(path.name for path in store.iterdir())


def test_a_verified_archive_is_stored_under_its_version(pair: tuple[Path, Path], tmp_path: Path, store: Path) -> None:
    archive = signed(tmp_path / "x.mar", pair[0])
    archive.chmod(0o600)

    stored = store_verified(archive, pair[1], store, "tick")

    assert stored.path == store / "tick-1.0.mar"
    assert held(store) == ["tick-1.0.mar"]
    assert (stored.model, stored.version, stored.signer) == ("tick", "1.0", "alice")
    assert stored.bytes == stored.path.stat().st_size
    assert mode(stored.path) == 0o644  # the server may run as another user
    assert content(stored.path) == content(archive)
    assert verify_archive(stored.path, pair[1]).digest == stored.digest


@pytest.mark.parametrize(
    "bad",
    [
        lambda folder, key: packed(folder / "x.mar"),
        lambda folder, key: signed(
            folder / "x.mar", key, manifest={"model": MANIFEST_SAYS["model"] | {"modelName": "news"}}
        ),
        lambda folder, key: forge(
            folder / "x.mar",
            [
                *(entry for entry in entries_of(signed(folder / "y.mar", key)) if entry.name != "tick_handler.py"),
                Entry("tick_handler.py", EVIL),
            ],
        ),
        lambda folder, key: forge(
            folder / "x.mar", [*entries_of(signed(folder / "y.mar", key)), Entry("tick_handler.py", EVIL, listed=False)]
        ),
        lambda folder, key: forge(
            folder / "x.mar", [*entries_of(signed(folder / "y.mar", key)), Entry("late.py", EVIL, crc=7)]
        ),
        lambda folder, key: folder / "missing.mar",
    ],
    ids=["unsigned", "of another model", "altered", "with a hidden member", "damaged at its end", "missing"],
)
def test_nothing_of_a_bad_archive_reaches_the_store(
    pair: tuple[Path, Path], tmp_path: Path, store: Path, bad: object
) -> None:
    (store / "tick-0.9.mar").write_bytes(b"the one before")

    with pytest.raises(Untrusted):
        store_verified(bad(tmp_path, pair[0]), pair[1], store, "tick")  # type: ignore[operator]

    assert held(store) == ["tick-0.9.mar"]


def test_a_version_is_stored_once(pair: tuple[Path, Path], tmp_path: Path, store: Path) -> None:
    first = store_verified(signed(tmp_path / "x.mar", pair[0]), pair[1], store, "tick")
    before = first.path.read_bytes()
    other = signed(tmp_path / "y.mar", pair[0], {"tick_handler.py": b"print('other')\n"})

    with pytest.raises(FileExistsError, match=rf"tick-1\.0\.mar: expected no archive, or one .*, got {first.digest}"):
        store_verified(other, pair[1], store, "tick")

    assert first.path.read_bytes() == before
    assert held(store) == ["tick-1.0.mar"]


def test_the_same_content_may_be_stored_again(pair: tuple[Path, Path], tmp_path: Path, store: Path) -> None:
    """With a newer signature, for instance; where another file took its place, it is refused."""
    archive = signed(tmp_path / "x.mar", pair[0])
    first = store_verified(archive, pair[1], store, "tick")
    sign_archive(archive, pair[0])

    assert store_verified(archive, pair[1], store, "tick").digest == first.digest
    first.path.write_bytes(b"something else")
    with pytest.raises(FileExistsError, match="got an unreadable one"):
        store_verified(archive, pair[1], store, "tick")


def test_a_full_disk_leaves_nothing_behind(pair: tuple[Path, Path], tmp_path: Path, store: Path) -> None:
    weights = {"weights.safetensors": np.random.default_rng(1).bytes(300_000)}
    archive = signed(tmp_path / "x.mar", pair[0], weights)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            store_verified(archive, pair[1], store, "tick")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert held(store) == []


def test_temporary_files_of_a_killed_process_are_removed(pair: tuple[Path, Path], tmp_path: Path, store: Path) -> None:
    program = (
        "import os, pathlib, signal\n"
        "from nautilus_torchserve.files.atomic_file import fresh_file\n"
        "store = pathlib.Path(os.environ['STORE'])\n"
        "with fresh_file(store, 'tick.mar') as one, fresh_file(store, 'tick-fast.mar') as other:\n"
        "    for file in (one, other):\n"
        "        file.write(b'half')\n"
        "        file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program], env={"STORE": str(store)}, cwd=PROJECT, check=False)
    assert killed.returncode == -9
    assert [path.read_bytes() for path in store.iterdir()] == [b"half", b"half"]
    assert not list(store.glob("*.mar"))  # TorchServe would take it for an archive

    store_verified(signed(tmp_path / "x.mar", pair[0]), pair[1], store, "tick")

    others, own = held(store)
    assert others.startswith(".tick-fast.mar.@")  # of another model, which may be rolled out just now
    assert own == "tick-1.0.mar"


def test_an_archive_changed_meanwhile_is_stored_as_verified_or_not_at_all(
    pair: tuple[Path, Path], tmp_path: Path, store: Path
) -> None:
    """Another process keeps writing an evil archive of the same length over it, and the good one again."""
    entries = entries_of(signed(tmp_path / "x.mar", pair[0]))
    evils = [replace(entry, data=entry.data.replace(b"honest", b" evil!")) for entry in entries]
    archive = forge(tmp_path / "tick.mar", entries)
    good, evil = archive.read_bytes(), forge(tmp_path / "evil.mar", evils).read_bytes()
    assert len(good) == len(evil)
    done = threading.Event()

    def alternate() -> None:
        with archive.open("r+b") as file:
            while not done.is_set():
                for data in (good, evil):
                    os.pwrite(file.fileno(), data, 0)

    writer = threading.Thread(target=alternate)
    writer.start()
    outcomes = Counter[str]()
    deadline = time.monotonic() + 30
    try:
        while min(outcomes["refused"], outcomes["stored"]) < 20:
            assert time.monotonic() < deadline, outcomes
            try:
                stored = store_verified(archive, pair[1], store, "tick")
            except Untrusted:
                outcomes["refused"] += 1
                continue
            outcomes["stored"] += 1
            assert content(stored.path)["tick_handler.py"] == HONEST["tick_handler.py"]
            stored.path.unlink()
    finally:
        done.set()
        writer.join()
    assert held(store) == []


def test_a_missing_model_store_is_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere: expected a model store, got no folder"):
        store_verified(signed(tmp_path / "x.mar", pair[0]), pair[1], tmp_path / "nowhere", "tick")


@pytest.mark.slow
def test_torchserve_serves_a_stored_archive_and_reports_its_digest(
    pair: tuple[Path, Path], tick_server: TorchServe, tick_archive: Path, tmp_path: Path, rows: np.ndarray
) -> None:
    """Java unpacks it, and the worker computes the digest from the files."""
    archive = Path(shutil.copy(tick_archive, tmp_path))
    sign_archive(archive, pair[0])
    stored = store_verified(archive, pair[1], tick_archive.parent, "tick")
    manager = tick_server.management()
    try:
        manager.register(stored.path.name, model_name="tick-signed")
        manager.wait_ready("tick-signed", "1.0")

        with connect(tick_server.inference_url, "tick-signed", token=tick_server.token) as client:
            answer = client.predict(rows)
        with connect(f"mar:{stored.path}", "tick") as client:
            here = client.predict(rows)
    finally:
        manager.unregister("tick-signed")
        stored.path.unlink()

    assert answer.digest == here.digest == stored.digest
    assert answer.outputs["buy"].tobytes() == here.outputs["buy"].tobytes()
    assert MANIFEST in content(archive)
