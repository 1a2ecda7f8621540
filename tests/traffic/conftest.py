"""Databases for traffic, and two versions of a model that share it."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from postgres import Postgres
from traffic_support import MODEL, NEVER_S, MakeRouter

from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.serving.server.torchserve import TorchServe
from nautilus_torchserve.traffic.router import Router
from nautilus_torchserve.traffic.store import TrafficStore
from nautilus_torchserve.traffic.versions import ModelConnector


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL, in a folder that its own user may enter (pytest's are root's alone)."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = Postgres(Path(folder))
        yield server
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/traffic.db"
    url: str = request.getfixturevalue("postgres").url
    engine, tables = sa.create_engine(url), sa.MetaData()
    tables.reflect(engine)
    tables.drop_all(engine)
    engine.dispose()
    return url


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrafficStore]:
    """An empty store in a file."""
    with TrafficStore(f"sqlite:///{tmp_path}/traffic.db") as opened:
        yield opened


@pytest.fixture
def out_of_order(tmp_path: Path) -> Callable[[], AbstractContextManager[None]]:
    """While it is entered, `store` takes no records: its tables are renamed."""

    @contextmanager
    def renamed_tables() -> Iterator[None]:
        _rename(tmp_path / "traffic.db", "", "away_")
        yield
        _rename(tmp_path / "traffic.db", "away_", "")

    return renamed_tables


def _rename(database: Path, before: str, after: str) -> None:
    connection = sqlite3.connect(database)
    for table in ("calls", "shadow_answers"):
        connection.execute(f"ALTER TABLE {before}{table} RENAME TO {after}{table}")
    connection.close()


@pytest.fixture(scope="session")
def two_versions(tick_server: TorchServe, tick_archive: Path, tick_run: Path) -> Iterator[TorchServe]:
    """The server with versions 1.0 and 1.1 of `MODEL`, the first being its default."""
    built = build_archive("tick", tick_run, "1.1", tick_archive.parent / "next").path
    later = built.rename(tick_archive.parent / "tick-1.1.mar")
    manager = tick_server.management()
    for archive in (tick_archive, later):
        manager.register(archive.name, model_name=MODEL)
    for version in ("1.0", "1.1"):
        manager.wait_ready(MODEL, version)
    manager.set_default(MODEL, "1.0")
    yield tick_server
    for version in ("1.1", "1.0"):  # the default one goes last, or TorchServe refuses
        manager.unregister(MODEL, version)


@pytest.fixture
def router_of(two_versions: TorchServe) -> Iterator[MakeRouter]:
    """Make a router that reads its store only when the test refreshes it."""
    routers: list[Router] = []

    def make(store: TrafficStore, model: str = MODEL, **options: Any) -> Router:
        of_router = {name: options.pop(name) for name in ("refresh_s", "name") if name in options}
        connector = ModelConnector(two_versions.inference_url, model, token=two_versions.token, **options)
        routers.append(Router(connector, store, **{"refresh_s": NEVER_S, "name": "host-1", **of_router}))
        return routers[-1]

    yield make
    for router in routers:
        router.close()  # a second time does nothing


@pytest.fixture
def slow_version(two_versions: TorchServe, tick_archive: Path, tick_run: Path) -> Iterator[str]:
    """Version 1.2, whose batches wait a second before they are computed."""
    built = build_archive("tick", tick_run, "1.2", tick_archive.parent / "next").path
    built.rename(tick_archive.parent / "tick-1.2.mar")
    manager = two_versions.management()
    manager.register("tick-1.2.mar", model_name=MODEL, batch_size=8, max_batch_delay=1000)
    manager.wait_ready(MODEL, "1.2")
    yield "1.2"
    if any(version["modelVersion"] == "1.2" for version in manager.describe(MODEL, "all")):
        manager.unregister(MODEL, "1.2")
