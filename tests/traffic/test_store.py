"""What a store keeps, in SQLite and in PostgreSQL alike, and what it refuses."""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from nautilus_torchserve.traffic.records import CallWindow, ClosedTrade, ScoredPrediction, ShadowAnswer
from nautilus_torchserve.traffic.split import Kind, Split, State, Unit
from nautilus_torchserve.traffic.store import SplitRefused, StoreFailed, TrafficStore, is_there

SPLIT = Split("exp-1", "tick", Kind.EXPERIMENT, "1.0", "1.1", 0.1, Unit.TIME, 3_600_000_000_000, settings='{"ü": 0.05}')
WINDOW = CallWindow(
    "exp-1",
    "tick",
    "1.1",
    "host-1",
    1_700_000_000_000_000_001,
    12,
    2,
    10.5,
    12.25,
    {-3: 4, 0: 6},
    {"buy": {-1: 3, 9: 7}, "sell": {}},
)
RECORDS = [
    WINDOW,
    ScoredPrediction("exp-1", "tick", "1.0", "BTCUSDT.BINANCE", 1_700_000_000_000_000_001, "HOLD", "BUY", None),
    ClosedTrade("exp-1", "tick", "1.1", "BTCUSDT.BINANCE", 1, 2**60, -0.1, 1 / 3),
    ShadowAnswer("exp-1", "tick", "1.1", "BTCUSDT.BINANCE", 5, {}, {"buy": 0.1}, 0.0, "Unavailable: 503: ü"),
]


def test_a_split_runs_from_its_start_to_its_end(database: str) -> None:
    with TrafficStore(database) as store:
        started = store.start(SPLIT)
        grown = store.set_share("exp-1", 0.5)
        ended = store.end("exp-1", State.PROMOTED)

        assert replace(started, created_ns=0, updated_ns=0) == SPLIT
        assert started.created_ns > 1_700_000_000 * 10**9
        assert grown == replace(started, share=0.5, updated_ns=grown.updated_ns)
        assert ended == replace(grown, state=State.PROMOTED, updated_ns=ended.updated_ns)
        assert started.updated_ns < grown.updated_ns < ended.updated_ns
        assert store.running("tick") is None
        assert store.split("exp-1") == ended
        assert store.splits() == store.splits("tick") == [ended]
        assert store.splits("price") == []


def test_of_a_model_at_most_one_split_runs(database: str) -> None:
    with TrafficStore(database) as store:
        store.start(SPLIT)

        with pytest.raises(SplitRefused, match=r"tick: expected a new name and no running split, got .*'exp-1'"):
            store.start(replace(SPLIT, name="exp-2"))
        store.start(replace(SPLIT, name="exp-2", model="price"))
        store.end("exp-1", State.STOPPED)
        with pytest.raises(SplitRefused, match="the taken name 'exp-1'"):
            store.start(SPLIT)
        store.start(replace(SPLIT, name="exp-3"))

        assert [split.name for split in store.splits()] == ["exp-1", "exp-2", "exp-3"]
        assert store.running("tick") == store.split("exp-3")


def test_one_of_several_concurrent_starts_succeeds(database: str) -> None:
    with TrafficStore(database) as store, ThreadPoolExecutor(8) as pool:
        together = threading.Barrier(8)

        def start(number: int) -> str:
            together.wait()
            try:
                return store.start(replace(SPLIT, name=f"exp-{number}")).name
            except SplitRefused:
                return ""

        won = [name for name in pool.map(start, range(8)) if name]

        assert [split.name for split in store.splits()] == won
        assert len(won) == 1


@pytest.mark.parametrize(
    "change", [lambda store: store.set_share("exp-1", 0.9), lambda store: store.end("exp-1", State.PROMOTED)]
)
def test_an_ended_split_cannot_be_changed(store: TrafficStore, change: Callable[[TrafficStore], Split]) -> None:
    store.start(SPLIT)
    ended = store.end("exp-1", State.WITHDRAWN)

    with pytest.raises(SplitRefused, match="exp-1: expected a running split, got one that is withdrawn"):
        change(store)

    assert store.split("exp-1") == ended


def test_a_missing_split_is_reported(store: TrafficStore) -> None:
    with pytest.raises(SplitRefused, match="expected the name of a split, got 'exp-9'"):
        store.end("exp-9", State.STOPPED)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_come_back_as_they_were_in_their_order(
    database: str, record: CallWindow | ScoredPrediction | ClosedTrade | ShadowAnswer
) -> None:
    records = [replace(record, model=f"tick-{number}") for number in range(5)]
    with TrafficStore(database) as store:
        store.keep(records[:2])
        store.keep([replace(record, split="exp-2")])
        store.keep(records[2:])
        store.keep([])

        assert store.read(type(record), "exp-1") == records
        assert store.read(type(record), "exp-1", after=3) == records[3:]
        assert store.read(type(record), "exp-9") == []


def test_concurrent_writers_lose_no_record(database: str) -> None:
    with TrafficStore(database) as one, TrafficStore(database) as other, ThreadPoolExecutor(8) as pool:
        windows = [replace(WINDOW, since_ns=number) for number in range(80)]
        list(pool.map(lambda window: (one if window.since_ns % 2 else other).keep([window]), windows))

        assert sorted(window.since_ns for window in one.read(CallWindow, "exp-1")) == list(range(80))


def test_a_reader_gets_each_record_once_while_several_write(database: str) -> None:
    """A number is drawn before its row can be seen: rows must not come to light in another order."""
    with TrafficStore(database) as store, ThreadPoolExecutor(6) as pool:
        written = [[replace(WINDOW, since_ns=batch * 100 + place) for place in range(10)] for batch in range(90)]
        writing = [pool.submit(store.keep, batch) for batch in written]

        read: list[CallWindow] = []
        while not all(write.done() for write in writing):
            read += store.read(CallWindow, "exp-1", len(read))
        read += store.read(CallWindow, "exp-1", len(read))

        assert sorted(window.since_ns for window in read) == [window.since_ns for batch in written for window in batch]


def test_a_version_is_used_by_the_routers_that_recently_reported_it(database: str) -> None:
    with TrafficStore(database) as store:
        store.heartbeat("host-1", "tick", ["1.0", "1.1"])
        store.heartbeat("host-2", "tick", ["1.1"])
        store.heartbeat("host-1", "price", ["1.0"])

        assert store.users("tick", "1.0") == ["host-1"]
        assert sorted(store.users("tick", "1.1")) == ["host-1", "host-2"]
        assert store.users("tick", "1.1", within_s=0.0) == []
        store.heartbeat("host-1", "tick", ["1.1"])
        store.unregister("host-2", "tick")
        assert store.users("tick", "1.0") == []
        assert store.users("tick", "1.1") == ["host-1"]
        assert store.users("price", "1.0") == ["host-1"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("runs/traffic.db", "expected a database URL of SQLAlchemy, got 'runs/traffic.db'"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", r"//me:\*\*\*@127.0.0.1:1/x: expected a database"),
        ("nosuch://x", "expected a database that can be opened"),
        ("sqlite:////proc/traffic/traffic.db", "expected a database that can be opened"),
    ],
)
def test_an_unreachable_database_is_reported_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(StoreFailed, match=reason) as failed:
        TrafficStore(url)

    assert "secret" not in str(failed.value)


def test_a_value_that_no_column_can_hold_is_refused(tmp_path: Path, store: TrafficStore) -> None:
    with pytest.raises(StoreFailed, match="expected a database that can take records"):
        store.keep([RECORDS[0], replace(WINDOW, requests=None)])  # type: ignore[arg-type]

    assert store.read(CallWindow, "exp-1") == []


@pytest.mark.parametrize(
    ("table", "column", "value", "found"),
    [
        ("splits", "kind", "coffee", "kind: Invalid enum value"),
        ("splits", "share", "much", "share: Expected float, got str"),
        ("splits", "share", 7.0, "a share of 7"),
        ("splits", "settings", b"\xff\x00", "settings: Expected str, got bytes"),
        ("splits", "created_ns", "x" * 5000, "row 'exp-1' of Split"),
        ("calls", "latencies", '{"x": 1}', "key in .*latencies"),
        ("calls", "latencies", "{", "Expecting property name"),
        ("calls", "requests", "many", "requests: Expected int"),
        ("routers", "versions", '{"1.0": 1}', "versions: Expected array, got object"),
    ],
)
def test_row_that_another_program_wrote_is_named(
    tmp_path: Path, table: str, column: str, value: object, found: str
) -> None:
    database = tmp_path / "traffic.db"
    with TrafficStore(f"sqlite:///{database}") as store:
        store.start(SPLIT)
        store.keep([WINDOW])
        store.heartbeat("host-1", "tick", ["1.0"])
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(f"UPDATE {table} SET {column} = ?", (value,))

        expected = f"{database}: expected a database that can be read, got: .*{found}"
        with pytest.raises(StoreFailed, match=expected) as failed:
            {
                "splits": store.splits,
                "calls": lambda: store.read(CallWindow, "exp-1"),
                "routers": lambda: store.users("tick", "1.0"),
            }[table]()

    assert len(str(failed.value)) < 400 + len(str(database))


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096, None])
def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "traffic.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)

    assert is_there(f"sqlite:///{path}")
    with pytest.raises(StoreFailed, match=f"{path}: expected a database that can be opened, got: "):
        TrafficStore(f"sqlite:///{path}")
