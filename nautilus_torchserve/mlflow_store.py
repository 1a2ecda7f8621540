"""The MLflow store that training runs and registered versions go into: an SQLite file unless a server is named.

Importing this module before MLflow turns off MLflow's telemetry and console output, and keeps requests to a server on
this machine off proxies; what the user has set in the environment stays.
"""

import logging
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nautilus_torchserve.user_error import UserError
from nautilus_torchserve.wire.loopback import exempt_loopback

if TYPE_CHECKING:  # MLflow takes more than a second to import
    from mlflow import MlflowClient

URI_VARIABLE = "MLFLOW_TRACKING_URI"
REGISTRY_VARIABLE = "MLFLOW_REGISTRY_URI"
"""Where versions are registered, when not in the tracking store."""
FILES_VARIABLE = "MLFLOW_DEFAULT_ARTIFACT_ROOT"
"""Where files of new experiments go, as MLflow's own server takes it: a folder, ``s3://bucket/path``."""
DATABASE = "mlflow.db"
ARTIFACTS = "mlflow-artifacts"
_SQLITE = "sqlite:///"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Stores that MLflow opens without a server."""
_LOCK_TIMEOUT_S = 20.0
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # at INFO it logs how it makes its tables
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout belongs to --json
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # scripts show their own
}
_S3_ERRORS = {"boto3.exceptions": ("Boto3Error",), "botocore.exceptions": ("BotoCoreError", "ClientError")}
_FAIL_FAST = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""With MLflow's defaults, right in the middle of a fit, an unreachable server costs four minutes."""

for _variable, _value in _DEFAULTS.items():  # before MLflow is imported; what the user has set stays
    os.environ.setdefault(_variable, _value)
exempt_loopback()


class TrackingFailed(UserError):
    """A tracking store that cannot be opened, or that refuses a value or a file."""


def tracking_store(runs: Path) -> str:
    """Return the store's URI: MLFLOW_TRACKING_URI where it is set, else the SQLite file in ``runs``."""
    return os.environ.get(URI_VARIABLE) or f"{_SQLITE}{runs.resolve() / DATABASE}"


def registry_store(runs: Path) -> str:
    """Return the URI of the store of registered versions: MLFLOW_REGISTRY_URI if set, else `tracking_store`."""
    return os.environ.get(REGISTRY_VARIABLE) or tracking_store(runs)


def open_store(store: str, registry: str | None = None) -> "MlflowClient":
    """Return a client of the store; an SQLite store is made if missing. Use within `typed_errors`.

    ``registry`` is the store of registered versions; default: ``store``.
    """
    for uri in {store, registry or store}:
        if database := database_file(uri):
            _make_database(database)
    from mlflow import MlflowClient

    return MlflowClient(store, registry or store)


def experiment_id(client: "MlflowClient", store: str, name: str) -> str:
    """Return the id of an experiment, which is made if missing.

    Its files go to MLFLOW_DEFAULT_ARTIFACT_ROOT where that is set, else those of an SQLite store beside its database;
    a server decides by itself.

    Raises
    ------
    TrackingFailed
        Another database without MLFLOW_DEFAULT_ARTIFACT_ROOT: MLflow would put files into the working directory.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, artifact_location=_files_of(store, name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)  # another process was faster
            assert experiment is not None
    return experiment.experiment_id


def _files_of(store: str, experiment: str) -> str | None:
    if not store.startswith(_DATABASES):
        return None
    if root := os.environ.get(FILES_VARIABLE):
        return f"{root.rstrip('/')}/{experiment}" if "://" in root else (Path(root).resolve() / experiment).as_uri()
    if database := database_file(store):
        return (database.parent / ARTIFACTS / experiment).as_uri()
    raise TrackingFailed(f"{redact(store)}: expected {FILES_VARIABLE} to say where files of runs go, got none")


def database_file(store: str) -> Path | None:
    """Return the file of an SQLite store; None for another store."""
    if not store.startswith(_SQLITE):
        return None
    if unfit := sorted(set(store) & set("%?")):  # MLflow reads them as escapes in one place and not in another
        raise TrackingFailed(f"{store}: expected a path without % and ?, got one with {' and '.join(unfit)}")
    return Path(store.removeprefix(_SQLITE)).resolve()


def _make_database(path: Path) -> None:
    """Make a new database, or check that the existing one can be written.

    MLflow builds its tables in some forty steps and cannot continue after an interruption, nor build them
    from two processes at once. So they are built in a temporary folder, and the finished file is moved to its
    place in one step, unless another process was faster.

    Raises
    ------
    OSError, sqlite3.Error
        MLflow would retry after these for minutes.
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
    """Raise any error of the store inside as `TrackingFailed`, which names the store and what failed: ``what``."""
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs a traceback with each such error
    try:
        yield
    except Exception as error:
        if isinstance(error, TrackingFailed) or not isinstance(error, _store_errors()):
            raise
        raise TrackingFailed(redact(f"{store}: the store failed on {what}: {error}")) from error


def _store_errors() -> tuple[type[Exception], ...]:
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    # Drivers and clients of other stores (psycopg, boto3) are the user's to install: ImportError.
    errors = [MlflowException, SQLAlchemyError, CommandError, sqlite3.Error, OSError, ImportError]
    for module, names in _S3_ERRORS.items():
        if (loaded := sys.modules.get(module)) is not None:
            errors += [getattr(loaded, name) for name in names]
    return tuple(errors)


@contextmanager
def fail_fast() -> Iterator[None]:
    """Give up on an unreachable server within seconds inside: nothing has been fitted yet that could be lost.

    What the user has set of `_FAIL_FAST` stays.
    """
    added = [name for name in _FAIL_FAST if name not in os.environ]
    os.environ.update({name: _FAIL_FAST[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def redact(text: str) -> str:
    """Return a URI, or a text with one, without user name and password."""
    return re.sub(r"//[^/@]+@", "//", text)
