"""A log in a database: PostgreSQL (with TimescaleDB where it is installed), or an SQLite file."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from nautilus_torchserve.audit.arrow_tables import from_rows
from nautilus_torchserve.audit.records import (
    KINDS,
    Floats,
    LogFailed,
    Numbers,
    Outputs,
    R,
    Record,
    Shape,
    Texts,
    UnfitRecord,
    Words,
)

_LIBPQ = {"connect_timeout": 10, "tcp_user_timeout": 10_000}  # seconds; milliseconds
_ARGUMENTS: dict[str, dict[str, Any]] = {"pysqlite": {"timeout": 20.0}, "psycopg": _LIBPQ, "psycopg2": _LIBPQ}
"""Driver -> its arguments, so that a database that has gone away is an error, not a wait."""
_INSERTS: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_DAY_NS = 86_400_000_000_000
_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_TYPES: dict[Any, Any] = {
    str: sa.Text(),
    int: sa.BigInteger(),
    bool: sa.Boolean(),
    Floats: postgresql.ARRAY(sa.REAL()).with_variant(sa.JSON(), "sqlite"),
    Numbers: postgresql.ARRAY(sa.Double()).with_variant(sa.JSON(), "sqlite"),
    Shape: postgresql.ARRAY(sa.BigInteger()).with_variant(sa.JSON(), "sqlite"),
    Texts: postgresql.ARRAY(sa.Text()).with_variant(sa.JSON(), "sqlite"),
    Outputs: _JSON,
    Words: _JSON,
}
"""A field's type -> its column's."""
_tables = sa.MetaData()


def _table(kind: type[Record]) -> sa.Table:
    columns = [sa.Column(field.name, _TYPES[field.type], nullable=False) for field in fields(kind)]
    key = sa.PrimaryKeyConstraint("run_id", "seq", "ts_ns")  # TimescaleDB wants the time in it
    table = sa.Table(f"audit_{kind.kind}", _tables, *columns, key)
    if "client_order_id" in table.c:
        sa.Index(f"{table.name}_order", table.c.client_order_id)
    return table


_of_kind = {kind: _table(kind) for kind in KINDS}


class SqlLog:
    """Tables ``audit_<kind>``, which are made where they are missing; only ever inserted into.

    Parameters
    ----------
    url : str
        Of SQLAlchemy: ``postgresql+psycopg://user@host/name``, ``sqlite:///runs/audit.db``.

    Raises
    ------
    LogFailed
        It cannot be opened.
    """

    last_hash: str | None = None

    def __init__(self, url: str) -> None:
        try:
            parsed = sa.make_url(url)
        except SQLAlchemyError as error:
            raise LogFailed(f"expected a folder or a database URL of SQLAlchemy, got {url!r}: {error}") from None
        self.name = parsed.render_as_string(hide_password=True)
        backend = parsed.get_backend_name()
        if backend not in _INSERTS:
            raise LogFailed(f"{self.name}: expected a database of {' or '.join(_INSERTS)}, got {backend}")
        self._insert = _INSERTS[backend]
        with self._failures("be opened"):
            if backend == "sqlite" and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            arguments = _ARGUMENTS.get(parsed.get_driver_name(), {})
            self._engine = sa.create_engine(parsed, connect_args=arguments, pool_pre_ping=True)
            _tables.create_all(self._engine)
            if backend == "postgresql":
                self._use_timescale()

    def keep(self, records: Sequence[Record]) -> None:
        """Append records; see `audit.records.AuditLog.keep`. Records whose confirmation got lost are there once."""
        rows = [_row(record) for record in records]
        insert = self._insert(_of_kind[type(records[0])]).on_conflict_do_nothing()
        with self._failures("take records"):
            try:
                with self._engine.begin() as connection:
                    connection.execute(insert, rows)
            except (ValueError, OverflowError, TypeError, sa.exc.DataError) as error:
                reason = f"{error}"[:200]
                raise UnfitRecord(f"{self.name}: expected values that a column can hold: {reason}") from error

    def tidy(self) -> None:
        """Do nothing: a database leaves nothing half done."""

    def read(self, kind: type[R], **equal: str | int) -> list[R]:
        """Return records; see `audit.records.AuditLog.read`."""
        table = _of_kind[kind]
        query = sa.select(table).where(*(table.c[name] == value for name, value in equal.items()))
        with self._failures("be read"), self._engine.connect() as connection:
            rows = connection.execute(query.order_by(table.c.run_id, table.c.seq)).mappings()
            return from_rows(kind, (_restore_outputs(kind, dict(row)) for row in rows))

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _use_timescale(self) -> None:
        with self._engine.begin() as connection:
            if not connection.scalar(sa.text("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'")):
                return
            for table in _of_kind.values():
                connection.execute(
                    sa.text(
                        "SELECT create_hypertable(:name, 'ts_ns', chunk_time_interval => :day, "
                        "if_not_exists => TRUE, migrate_data => TRUE)"
                    ),
                    {"name": table.name, "day": _DAY_NS},
                )

    @contextmanager
    def _failures(self, purpose: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, ImportError, OSError) as error:  # ImportError: the database's driver
            raise LogFailed(f"{self.name}: expected a database that can {purpose}, got: {error}") from error


def _row(record: Record) -> dict[str, Any]:
    row = dict(vars(record))
    for field in fields(record):
        value = row[field.name]
        if field.type is str:  # PostgreSQL's texts know no NUL: one would keep back all that follow
            row[field.name] = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
        elif field.type == Floats:
            row[field.name] = value.tolist()
        elif field.type in (Numbers, Shape, Texts):
            row[field.name] = list(value)
        elif field.type == Outputs:  # JSON has no infinities
            row[field.name] = {
                name: number if math.isfinite(number) else repr(number) for name, number in value.items()
            }
        elif field.type == Words:
            row[field.name] = dict(value)
    return row


def _restore_outputs(kind: type[Record], row: dict[str, Any]) -> dict[str, Any]:
    for field in fields(kind):
        if field.type == Outputs:
            row[field.name] = {name: float(number) for name, number in row[field.name].items()}
    return row
