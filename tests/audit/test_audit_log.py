"""Records are read back to the last bit from every kind of log, and existing records stay as they are."""

import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from audit_support import comparable, make_record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from postgres import Postgres

from nautilus_torchserve.audit.chain import Chain
from nautilus_torchserve.audit.opening import existing_log, open_log
from nautilus_torchserve.audit.parquet_log import ParquetLog
from nautilus_torchserve.audit.records import (
    KINDS,
    AuditLog,
    FillRecord,
    HaltRecord,
    LogFailed,
    Record,
    RequestRecord,
    SessionRecord,
)
from nautilus_torchserve.audit.segment import Segment

float32 = st.floats(width=32, allow_nan=False)
asked_fields = st.fixed_dictionaries(
    {
        "features": arrays(np.float32, st.integers(0, 6), elements=st.floats(width=32, allow_nan=False)),
        "outputs": st.dictionaries(st.text("abc_", min_size=1), float32, max_size=3),
        "texts": st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), max_size=3).map(tuple),
        "ages_s": st.lists(st.floats(0, 1e300), max_size=3).map(tuple),
        "shape": st.lists(st.integers(0, 2**40), max_size=3).map(tuple),
        "ts_event": st.integers(-(2**63), 2**63 - 1),
    }
)


def kept(log: AuditLog, kind: type[Record], **equal: str | int) -> list[dict[str, Any]]:
    return [comparable(record) for record in log.read(kind, **equal)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_records_of_each_kind_come_back_as_they_were(log_url: str, kind: type[Record]) -> None:
    records = [make_record(kind, seq) for seq in range(5)]
    log = open_log(log_url)

    log.keep(records[:3])
    log.keep(records[3:])
    open_now = kept(existing_log(log_url), kind) if kind is SessionRecord else kept(open_log(log_url), kind)
    log.close()

    assert open_now == kept(open_log(log_url), kind) == [comparable(record) for record in records]


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=asked_fields)
def test_no_bit_changes_on_the_way(log_url: str, fields: dict[str, Any], fresh_run: Callable[[], str]) -> None:
    record = make_record(RequestRecord, 0, fresh_run(), **fields)
    log = open_log(log_url)

    log.keep([record])

    assert kept(log, RequestRecord, run_id=record.run_id) == [comparable(record)]
    log.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_outputs_that_are_no_numbers_are_kept_too(log_url: str, value: float) -> None:
    log = open_log(log_url)

    log.keep([make_record(RequestRecord, 0, outputs={"buy": value}, features=np.array([value], np.float32))])

    (record,) = log.read(RequestRecord)
    assert repr(record.outputs["buy"]) == repr(value)
    assert repr(record.features.tolist()) == repr([value])
    log.close()


def test_a_read_selects_records_among_runs(log_url: str) -> None:
    log = open_log(log_url)
    log.keep([make_record(FillRecord, 1, "run-2"), make_record(FillRecord, 2, "run-2", client_order_id="O-2")])
    log.close()
    log = open_log(log_url)
    log.keep([make_record(FillRecord, 2, "run-1"), make_record(FillRecord, 1, "run-1", client_order_id="O-2")])

    selected = [(record.run_id, record.seq) for record in log.read(FillRecord)]
    of_order = [(record.run_id, record.seq) for record in log.read(FillRecord, client_order_id="O-2")]
    of_run = [record.seq for record in log.read(FillRecord, client_order_id="O-2", run_id="run-1")]
    log.close()

    assert selected == [("run-1", 1), ("run-1", 2), ("run-2", 1), ("run-2", 2)]
    assert of_order == [("run-1", 1), ("run-2", 2)]
    assert of_run == [1]


@pytest.mark.parametrize("log_url", ["sqlite", "postgresql"], indirect=True)
def test_a_batch_given_again_to_a_database_is_there_once(log_url: str) -> None:
    log = open_log(log_url)

    log.keep([make_record(FillRecord, 0), make_record(FillRecord, 1)])
    log.keep([make_record(FillRecord, 1), make_record(FillRecord, 2)])

    assert [record.seq for record in log.read(FillRecord)] == [0, 1, 2]
    log.close()


def test_files_are_rolled_and_no_run_touches_anothers(tmp_path: Path) -> None:
    first, second = ParquetLog(tmp_path, most_rows=2), ParquetLog(tmp_path, most_rows=2)

    for seq in range(5):
        first.keep([make_record(FillRecord, seq, "run-1")])
        second.keep([make_record(FillRecord, seq, "run-2")])
    second.tidy()  # while both are being written
    before = {path.name: path.read_bytes() for path in (tmp_path / "fills").glob("*.parquet")}
    first.close()
    second.close()

    names = {path.name for path in (tmp_path / "fills").iterdir()}
    assert names == {f"run-{run}-0000{number}.parquet" for run in (1, 2) for number in (1, 2, 3)}
    assert len(before) == 4
    assert all((tmp_path / "fills" / name).read_bytes() == was for name, was in before.items())
    assert pq.read_table(tmp_path / "fills").num_rows == 10  # as any reader of Parquet finds it
    assert [record.seq for record in ParquetLog(tmp_path).read(FillRecord, run_id="run-1")] == [0, 1, 2, 3, 4]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_a_stream_that_breaks_off_anywhere_keeps_its_whole_batches(
    tmp_path: Path, fresh_run: Callable[[], str], share: float
) -> None:
    run = fresh_run()
    path = tmp_path / run / "fills" / f"{run}-00001.arrows"
    path.parent.mkdir(parents=True)
    segment, ends = Segment(path, FillRecord, Chain(tmp_path / run)), []
    for seq in range(4):
        segment.append([make_record(FillRecord, seq, run)])
        ends.append(segment.bytes)
    left = shutil.copytree(tmp_path / run, tmp_path / f"{run}-left")  # no process holds its lock
    segment.close()
    torn, size = left / "fills" / path.name, round(share * ends[-1])
    os.truncate(torn, size)

    log = ParquetLog(left)
    as_it_is = [record.seq for record in log.read(FillRecord)]
    log.tidy()

    assert as_it_is == list(range(sum(end <= size for end in ends)))
    assert [record.seq for record in log.read(FillRecord)] == as_it_is
    assert torn.exists() == (size < ends[-1])  # what does not agree with the chain stays as evidence


def test_a_text_that_postgresql_cannot_hold_does_not_block_the_others(log_url: str) -> None:
    log = open_log(log_url)

    log.keep([make_record(HaltRecord, 0, reason="a\0b"), make_record(HaltRecord, 1)])

    first, second = log.read(HaltRecord)
    assert first.reason in ("a\0b", "a\N{REPLACEMENT CHARACTER}b")
    assert second.reason == "kill switch"
    log.close()


def test_a_full_disk_keeps_earlier_records_and_takes_the_rest_later(tmp_path: Path) -> None:
    log = ParquetLog(tmp_path)
    log.keep([make_record(FillRecord, seq) for seq in range(3)])
    (stream,) = (tmp_path / "fills").glob("*.arrows")
    room = stream.stat().st_size + 100
    large = [make_record(FillRecord, seq, trade_id="x" * 1000) for seq in range(3, 6)]

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))  # no file may become larger, as on a full disk
    try:
        with pytest.raises(LogFailed, match="expected a folder that can be written"):
            log.keep(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)
    log.keep(large)
    log.close()

    assert [record.seq for record in ParquetLog(tmp_path).read(FillRecord)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: pq.write_table(pa.table({"run_id": pa.array([None], pa.string())}), path),
        lambda path: pq.write_table(as_null(pq.read_table(path), "quantity"), path),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b""),
    ],
    ids=["columns", "nulls", "torn", "empty"],
)
def test_a_damaged_file_is_an_error_with_a_message(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    log = ParquetLog(tmp_path)
    log.keep([make_record(FillRecord, 0)])
    log.close()
    (path,) = (tmp_path / "fills").glob("*.parquet")
    damage(path)

    with pytest.raises(LogFailed, match="expected fills that can be read, got: ") as caught:
        log.read(FillRecord)
    assert len(f"{caught.value}".removeprefix(f"{tmp_path}")) < 300


def as_null(table: pa.Table, column: str) -> pa.Table:
    place = table.schema.get_field_index(column)
    return table.set_column(place, column, pa.nulls(table.num_rows, table.schema.field(column).type))


def test_an_unwritable_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(LogFailed, match="expected a folder that can be written"):
        open_log(f"{tmp_path}/file").keep([make_record(FillRecord, 0)])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("parquet:", "expected a folder or a database URL of SQLAlchemy, got 'parquet:'"),
        ("mysql://root@localhost/x", "expected a database of postgresql or sqlite, got mysql"),
        ("sqlite:////proc/audit/audit.db", "expected a database that can be opened"),
        (
            "postgresql+psycopg://nobody:secret@127.0.0.1:1/none",
            "nobody:\\*\\*\\*@127.0.0.1:1/none: expected a database that",
        ),
    ],
)
def test_a_log_that_cannot_be_opened_is_an_error_with_a_message(url: str, message: str) -> None:
    with pytest.raises(LogFailed, match=message):
        open_log(url)


@pytest.mark.parametrize("url", ["parquet:{}", "{}/none", "sqlite:///{}/none.db"])
def test_reading_makes_no_log(tmp_path: Path, url: str) -> None:
    with pytest.raises(LogFailed, match="a log's"):
        existing_log(url.format(tmp_path))

    assert not list(tmp_path.iterdir())


def test_postgres_keeps_features_as_numbers_for_queries(audit_postgres: Postgres) -> None:
    log = open_log(audit_postgres.url)
    log.keep([make_record(RequestRecord, 0, "run-numbers")])
    engine = sa.create_engine(audit_postgres.url)

    with engine.connect() as connection:
        query = "SELECT features[1], outputs->>'buy' FROM audit_asked WHERE run_id = 'run-numbers'"
        (row,) = connection.execute(sa.text(query))

    assert tuple(row) == (1.5, "0.75")
    engine.dispose()
    log.close()
