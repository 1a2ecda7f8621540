"""The MLflow store that training runs go into: an SQLite file unless a server is named.

Importing this, before anybody imports MLflow, turns off what MLflow sends to its makers and prints;
what the user has set in the environment stays.
"""

import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # MLflow takes more than a second to import
    from mlflow import MlflowClient

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"
ARTIFACTS = "mlflow-artifacts"
_SQLITE = "sqlite:///"
_LOCK_TIMEOUT_S = 20.0
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # at INFO it tells how it makes its tables
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout belongs to --json
}
_HASTY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""With MLflow's own values, good ones in the middle of a fit, a server that is not there costs four minutes."""

for _variable, _value in _DEFAULTS.items():  # before anybody imports MLflow; what the user has set stays
    os.environ.setdefault(_variable, _value)


class TrackingFailed(RuntimeError):
    """A tracking store that cannot be opened, or did not take what was to be kept."""


def tracking_store(runs: Path) -> str:
    """The store's URI: MLFLOW_TRACKING_URI where it is set, else the SQLite file in ``runs``."""
    return os.environ.get(URI_VARIABLE) or f"{_SQLITE}{runs.resolve() / DATABASE}"


def open_store(store: str) -> "MlflowClient":
    """A client of the store; an SQLite store is made where it is not there. Use within :func:`typed_errors`."""
    if database := database_file(store):
        _make_database(database)
    from mlflow import MlflowClient

    return MlflowClient(store)


def database_file(store: str) -> Path | None:
    """The file of an SQLite store, None for another store."""
    if not store.startswith(_SQLITE):
        return None
    if unfit := sorted(set(store) & set("%?")):  # MLflow reads them as escapes in one place and not in another
        raise TrackingFailed(f"{store}: a path without % and ? expected, was one with {' and '.join(unfit)}")
    return Path(store.removeprefix(_SQLITE)).resolve()


def _make_database(path: Path) -> None:
    """Make a new database, or prove that the one there can be written.

    MLflow builds its tables in some forty steps and cannot go on from the middle, nor build them
    from two processes at once. So they are built in a folder of their own, and the finished file gets its
    place in one step, unless another process was faster.

    Raises
    ------
    OSError, sqlite3.Error
        With these MLflow would try again for minutes.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=path.parent) as folder:
            building, finished = Path(folder) / "building.db", Path(folder) / "finished.db"
            _build_tables(building, path.parent / ARTIFACTS)
            shutil.copyfile(building, finished)
            with suppress(FileExistsError):
                os.link(finished, path)
    with closing(sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT count(*) FROM sqlite_master")
        connection.rollback()


def _build_tables(database: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(f"{_SQLITE}{database}", artifacts.as_uri()).engine.dispose()


@contextmanager
def typed_errors(store: str, what: str) -> Iterator[None]:
    """Any error of the store inside becomes `TrackingFailed`, which names the store and what it did not take."""
    try:
        yield
    except Exception as error:
        if isinstance(error, TrackingFailed) or not isinstance(error, _store_errors()):
            raise
        raise TrackingFailed(shown(f"{store}: a store that takes {what} expected, was: {error}")) from error


def _store_errors() -> tuple[type[Exception], ...]:
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, CommandError, sqlite3.Error, OSError


@contextmanager
def hasty() -> Iterator[None]:
    """Inside, a server that is not there is given up on in seconds: nothing has been fitted yet that could be lost.

    What the user has set of `_HASTY` stays.
    """
    added = [name for name in _HASTY if name not in os.environ]
    os.environ.update({name: _HASTY[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def shown(text: str) -> str:
    """A URI, or a text with one, without a user's name and password."""
    return re.sub(r"//[^/@]+@", "//", text)
