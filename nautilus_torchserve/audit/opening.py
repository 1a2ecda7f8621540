"""Opening a log by its URL."""

from pathlib import Path

from nautilus_torchserve.audit.parquet_log import ParquetLog
from nautilus_torchserve.audit.records import AuditLog, LogFailed, SessionRecord
from nautilus_torchserve.audit.sql_log import SqlLog

PARQUET = "parquet:"


def open_log(url: str) -> AuditLog:
    """Open a log, to write or to read.

    Parameters
    ----------
    url : str
        ``parquet:runs/audit`` or a folder's path; or of SQLAlchemy, ``postgresql+psycopg://user@host/name``.

    Raises
    ------
    LogFailed
        It cannot be opened.
    """
    if not url.removeprefix(PARQUET):
        raise LogFailed(f"expected a folder or a database URL of SQLAlchemy, got {url!r}")
    return SqlLog(url) if _is_database(url) else ParquetLog(Path(url.removeprefix(PARQUET)))


def existing_log(url: str) -> AuditLog:
    """Open a log to read, and make none where there is none.

    Raises
    ------
    LogFailed
        There is none, or it cannot be opened.
    """
    path = Path(url.removeprefix("sqlite:///") if _is_database(url) else url.removeprefix(PARQUET))
    if url.startswith("sqlite:///") and not path.is_file():
        raise LogFailed(f"expected a log's database, got no file {path}")
    if not _is_database(url) and not (path / SessionRecord.kind).is_dir():
        raise LogFailed(f"expected a log's folder, which holds {SessionRecord.kind}/, got {path}")
    return open_log(url)


def folder_of(url: str) -> Path:
    """Return the folder of a log of Parquet files, the only ones with a chain.

    Raises
    ------
    LogFailed
        It is in a database.
    """
    if _is_database(url):
        raise LogFailed(
            "expected parquet:FOLDER to verify, got a database, whose rows have no chain: let the run's user insert "
            "and select only, and rely on the database's own means (a write-ahead log kept elsewhere)"
        )
    return Path(url.removeprefix(PARQUET))


def _is_database(url: str) -> bool:
    return "://" in url
