"""The store of splits and their records: any database that SQLAlchemy supports; the default is an SQLite file.

One database is shared by the trading hosts, which read the split and write records, and by whoever runs canaries and
experiments. Several hosts need a server (PostgreSQL); a file is enough for one.
"""

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from nautilus_torchserve.files.state_file import describe_mismatch
from nautilus_torchserve.traffic.records import CallWindow, ClosedTrade, Record, ScoredPrediction, ShadowAnswer
from nautilus_torchserve.traffic.split import Kind, Split, State, Unit
from nautilus_torchserve.user_error import UserError

DEFAULT_URL = "sqlite:///runs/traffic.db"
_LIBPQ = {"connect_timeout": 10, "tcp_user_timeout": 10_000}  # seconds; milliseconds
_TIMEOUTS: dict[str, dict[str, Any]] = {"pysqlite": {"timeout": 20.0}, "psycopg": _LIBPQ, "psycopg2": _LIBPQ}
"""Driver -> its arguments, so that a database that has gone away is an error, and is not waited for."""
_tables = sa.MetaData()
AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True)
class _RouterRow:
    """A row of the routers' table."""

    router: str
    versions: list[str]


_Row = TypeVar("_Row", bound=Split | Record | _RouterRow)


class StoreFailed(UserError):
    """The database cannot be reached, or did not take the records."""


class SplitRefused(UserError, ValueError):
    """An invalid split: another one of the model is running, its name is taken, or there is none of that name."""


def _columns(record: type) -> list[sa.Column[Any]]:
    """Return one column a field; mappings are JSON texts with names as keys."""
    types = {
        str: sa.Text,
        int: sa.BigInteger,
        float: sa.Float,
        float | None: sa.Float,
        Kind: sa.Text,
        Unit: sa.Text,
        State: sa.Text,
    }
    return [
        sa.Column(field.name, types.get(field.type, sa.JSON)(), nullable=field.type == float | None)  # type: ignore[arg-type]
        for field in fields(record)
    ]


_splits = sa.Table("splits", _tables, *_columns(Split), sa.PrimaryKeyConstraint("name"))
sa.Index(
    "one_running_split_a_model",
    _splits.c.model,
    unique=True,
    sqlite_where=_splits.c.state == State.RUNNING.value,
    postgresql_where=_splits.c.state == State.RUNNING.value,
)
_routers = sa.Table(
    "routers",
    _tables,
    sa.Column("router", sa.Text),
    sa.Column("model", sa.Text),
    sa.Column("versions", sa.JSON, nullable=False),
    sa.Column("seen_ns", sa.BigInteger, nullable=False),
    sa.PrimaryKeyConstraint("router", "model"),
)


def _record_table(name: str, record: type) -> sa.Table:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite counts up INTEGER keys only
    table = sa.Table(name, _tables, sa.Column("number", number, primary_key=True), *_columns(record))
    sa.Index(f"{name}_of_a_split", table.c.split, table.c.number)
    return table


_of_record: dict[type, sa.Table] = {
    CallWindow: _record_table("calls", CallWindow),
    ScoredPrediction: _record_table("scored_predictions", ScoredPrediction),
    ClosedTrade: _record_table("closed_trades", ClosedTrade),
    ShadowAnswer: _record_table("shadow_answers", ShadowAnswer),
}


def is_there(url: str) -> bool:
    """Return whether there is a store to open: whether an SQLite file exists; a server counts as one."""
    try:
        parsed = sa.make_url(url)
    except SQLAlchemyError:
        return True
    return parsed.get_backend_name() != "sqlite" or not parsed.database or os.path.lexists(parsed.database)


@contextmanager
def open_splits(url: str) -> Iterator["TrafficStore | None"]:
    """Open the store where there is one, and yield None otherwise: reading creates no database."""
    if not is_there(url):
        yield None
        return
    with TrafficStore(url) as store:
        yield store


class TrafficStore:
    """An open database; safe to use from several threads and processes.

    Parameters
    ----------
    url : str
        Of SQLAlchemy: ``sqlite:///runs/traffic.db``, ``postgresql+psycopg://user@host/name``.

    Raises
    ------
    StoreFailed
        It cannot be opened. Missing tables are created.
    """

    def __init__(self, url: str = DEFAULT_URL) -> None:
        try:
            parsed = sa.make_url(url)
        except SQLAlchemyError as error:
            raise StoreFailed(f"expected a database URL of SQLAlchemy, got {url!r}: {error}") from None
        self._name = parsed.render_as_string(hide_password=True)
        with self._failures("be opened"):
            if parsed.get_backend_name() == "sqlite" and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            arguments = _TIMEOUTS.get(parsed.get_driver_name(), {})
            self._engine = sa.create_engine(parsed, connect_args=arguments, pool_pre_ping=True)
            if parsed.get_backend_name() == "sqlite":
                sa.event.listen(self._engine, "connect", _readers_beside_a_writer)
            _tables.create_all(self._engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> "TrafficStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, split: Split) -> Split:
        """Start a split, which routers follow from now on, and return it with its times.

        Raises
        ------
        SplitRefused
            Another one of this model is running, or the name is taken.
        """
        now = time.time_ns()
        split = replace(split, created_ns=now, updated_ns=now)
        try:
            with self._failures("take a split"), self._engine.begin() as connection:
                connection.execute(_splits.insert(), [asdict(split)])
        except StoreFailed as error:
            if not isinstance(error.__cause__, IntegrityError):
                raise
            running = self.running(split.model)
            got = f"a running {running.kind} {running.name!r}" if running else f"the taken name {split.name!r}"
            raise SplitRefused(f"{split.model}: expected a new name and no running split, got {got}") from None
        return split

    def running(self, model: str) -> Split | None:
        """Return the running split of a model; None without one."""
        splits = self._read_splits(_splits.c.model == model, _splits.c.state == State.RUNNING.value)
        return splits[0] if splits else None

    def split(self, name: str) -> Split:
        """Return the split of a name; raises `SplitRefused` where there is none."""
        splits = self._read_splits(_splits.c.name == name)
        if not splits:
            raise SplitRefused(f"expected the name of a split, got {name!r}")
        return splits[0]

    def splits(self, model: str | None = None) -> list[Split]:
        """Return all splits, or all of a model, oldest first."""
        return self._read_splits(*([] if model is None else [_splits.c.model == model]))

    def set_share(self, name: str, share: float) -> Split:
        """Change the share of a running split's challenger."""
        return self._change(name, share=share)

    def end(self, name: str, state: State) -> Split:
        """End a running split; raises `SplitRefused` where it has ended already."""
        return self._change(name, state=state.value)

    def keep(self, records: Sequence[Record]) -> int:
        """Write records of one type, all or none; return how many."""
        if not records:
            return 0
        table = _of_record[type(records[0])]
        with self._failures("take records"), self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # Numbers are drawn before rows become visible. With several writers, rows would appear in another
                # order than their numbers, and a reader that goes on from the last one would miss some. SQLite has one
                # writer.
                connection.execute(sa.text("SET LOCAL lock_timeout = '20s'"))
                connection.execute(sa.text(f"LOCK TABLE {table.name} IN EXCLUSIVE MODE"))
            connection.execute(table.insert(), [asdict(record) for record in records])
        return len(records)

    def read(self, record: type[AnyRecord], split: str, after: int = 0) -> list[AnyRecord]:
        """Return a split's records in the order in which they were written, without the first ``after`` of them."""
        table = _of_record[record]
        wanted = sa.select(table).where(table.c.split == split).order_by(table.c.number).offset(after)
        with self._failures("be read"), self._engine.connect() as connection:
            return [_restored(record, row, row["number"]) for row in connection.execute(wanted).mappings()]

    def heartbeat(self, router: str, model: str, versions: Sequence[str]) -> None:
        """Record that a router is alive, and the versions of its instruments."""
        values = {"router": router, "model": model, "versions": sorted(versions), "seen_ns": time.time_ns()}
        mine = (_routers.c.router == router) & (_routers.c.model == model)
        with self._failures("take a router's heartbeat"), self._engine.begin() as connection:
            if not connection.execute(_routers.update().where(mine).values(values)).rowcount:
                connection.execute(_routers.insert(), [values])

    def unregister(self, router: str, model: str) -> None:
        """Remove a router that has stopped."""
        with self._failures("take a router's heartbeat"), self._engine.begin() as connection:
            connection.execute(_routers.delete().where(_routers.c.router == router, _routers.c.model == model))

    def users(self, model: str, version: str, within_s: float = 10.0) -> list[str]:
        """Return the routers whose heartbeat within the last seconds had this version in use."""
        fresh = sa.select(_routers).where(
            _routers.c.model == model, _routers.c.seen_ns > time.time_ns() - round(within_s * 1e9)
        )
        with self._failures("be read"), self._engine.connect() as connection:
            rows = [_restored(_RouterRow, row, row["router"]) for row in connection.execute(fresh).mappings()]
        return [row.router for row in rows if version in row.versions]

    def _read_splits(self, *conditions: sa.ColumnElement[bool]) -> list[Split]:
        wanted = sa.select(_splits).where(*conditions).order_by(_splits.c.created_ns)
        with self._failures("be read"), self._engine.connect() as connection:
            return [_restored(Split, row, row["name"]) for row in connection.execute(wanted).mappings()]

    def _change(self, name: str, **values: object) -> Split:
        running = (_splits.c.name == name) & (_splits.c.state == State.RUNNING.value)
        with self._failures("take a split's change"), self._engine.begin() as connection:
            changed = connection.execute(_splits.update().where(running).values(updated_ns=time.time_ns(), **values))
        split = self.split(name)
        if not changed.rowcount:
            raise SplitRefused(f"{name}: expected a running split, got one that is {split.state}")
        return split

    @contextmanager
    def _failures(self, purpose: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, ValueError, ImportError, OSError) as error:  # ImportError: its driver
            cause = getattr(error, "orig", None) or error
            reason = f"{cause}".strip().split("\n")[0] or type(cause).__name__
            raise StoreFailed(f"{self._name}: expected a database that can {purpose}, got: {reason:.200}") from error


class RecordReader:
    """Reads the records of a split as they come: of each kind only those that were not read before.

    On a server's database a record that another transaction wrote in between can be read twice or not at all.
    """

    def __init__(self, store: TrafficStore, split: str) -> None:
        self._store, self._split = store, split
        self._read: Counter[type] = Counter()

    def read(self, kind: type[AnyRecord]) -> list[AnyRecord]:
        """Return the new records of one kind."""
        records = self._store.read(kind, self._split, self._read[kind])
        self._read[kind] += len(records)
        return records


def _restored(record: type[_Row], row: RowMapping, key: object) -> _Row:
    """Return a row of a table as a record; raises ValueError where another program wrote something else."""
    values = {str(name): value for name, value in row.items() if name != "number"}  # of SQLAlchemy's own class of names
    try:
        restored = msgspec.convert(values, record, str_keys=True)  # JSON knows only texts as keys; buckets are numbers
    except msgspec.ValidationError as error:
        raise ValueError(f"row {key!r:.60} of {record.__name__.strip('_')}: {describe_mismatch(error)}") from None
    if isinstance(restored, Split) and not 0 <= restored.share <= 1:
        raise ValueError(f"row {key!r:.60} of Split: a share of {restored.share:g}")
    return restored


def _readers_beside_a_writer(connection: Any, _: object) -> None:
    """Turn SQLite's write-ahead log on: readers do not wait for a writer."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
