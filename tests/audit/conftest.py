"""Logs to write to: a folder, a file of SQLite, a real PostgreSQL."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres import Postgres


@pytest.fixture(scope="session")
def audit_postgres() -> Iterator[Postgres]:
    """A PostgreSQL, in a folder that its own user may enter (pytest's are root's alone)."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = Postgres(Path(folder))
        yield server
        server.stop()


@pytest.fixture(params=["parquet", "sqlite", "postgresql"])
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty log."""
    if request.param == "parquet":
        return f"parquet:{tmp_path}/new/audit"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/audit.db"
    url: str = request.getfixturevalue("audit_postgres").url
    engine, tables = sa.create_engine(url), sa.MetaData()
    tables.reflect(engine)
    tables.drop_all(engine)
    engine.dispose()
    return url


@pytest.fixture(scope="session")
def fresh_run() -> Callable[[], str]:
    """Runs that no test of this session has used."""
    numbers = itertools.count(1)
    return lambda: f"fresh-{next(numbers)}"
