"""Records reach the log in the background, through outages, and but for the last second through crashes."""

import logging
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from audit_support import make_record
from postgres import Postgres

from nautilus_torchserve.audit.opening import folder_of, open_log
from nautilus_torchserve.audit.records import AuditLog, FillRecord, RequestRecord, SessionRecord
from nautilus_torchserve.audit.verification import verify
from nautilus_torchserve.audit.writer import Writer
from support import PROJECT, until

HERE = Path(__file__).parent
NEVER_S = 3600.0


def seqs(log: AuditLog) -> list[int]:
    """Return the sequence numbers of both kinds that the tests write."""
    return sorted(record.seq for kind in (FillRecord, RequestRecord) for record in log.read(kind))


def is_parquet_whole(log_url: str) -> bool:
    return not log_url.startswith("parquet:") or not verify(folder_of(log_url)).findings


def test_records_appear_soon_and_all_of_them_at_a_clean_end(log_url: str) -> None:
    writer = Writer(open_log(log_url), every_s=0.02)
    reader = open_log(log_url)

    for seq in range(100):
        writer.add(make_record(FillRecord if seq % 2 else RequestRecord, seq))
    until(lambda: seqs(reader) == list(range(100)))
    for seq in range(100, 12_000):
        writer.add(make_record(FillRecord, seq))
    left = writer.close()

    assert left == writer.dropped == 0
    assert seqs(reader) == list(range(12_000))
    reader.close()


def test_a_writer_that_is_woken_writes_at_once(tmp_path: Path) -> None:
    writer = Writer(open_log(str(tmp_path)), every_s=NEVER_S)
    reader = open_log(str(tmp_path))

    writer.add(make_record(SessionRecord, 0))
    until(lambda: writer.wake() is None and len(reader.read(SessionRecord)) == 1)

    writer.close()


@pytest.mark.slow
def test_an_outage_of_the_database_loses_nothing_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryDirectory(prefix="pg-") as folder, caplog.at_level(logging.WARNING):
        server = Postgres(Path(folder))
        writer = Writer(open_log(server.url), every_s=0.02)
        writer.add(make_record(FillRecord, 0))
        reader = open_log(server.url)
        until(lambda: seqs(reader) == [0])

        server.stop()
        for seq in range(1, 50):
            writer.add(make_record(FillRecord, seq))
        until(lambda: "continues without its audit log" in caplog.text)
        server.start()
        until(lambda: "is back" in caplog.text)

        assert writer.close() == 0
        assert seqs(reader) == list(range(50))
        assert caplog.text.count("continues without its audit log") == 1
        reader.close()
        server.stop()


def test_a_folder_that_cannot_be_written_for_a_while_gets_the_rest_afterwards(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(open_log(str(tmp_path / "log")), every_s=0.01, most=100)
    (tmp_path / "log").write_text("a file in the way")

    for seq in range(130):
        writer.add(make_record(FillRecord, seq))
    until(lambda: "continues without its audit log" in caplog.text)
    (tmp_path / "log").unlink()

    assert writer.close() == 0
    assert writer.dropped == 30
    assert seqs(open_log(str(tmp_path / "log"))) == list(range(30, 130))
    assert "1 records dropped so far, 100 of a kind wait" in caplog.text


def test_a_disk_that_becomes_full_is_counted_from_the_first_record_that_is_lost(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(open_log(str(small_disk)), every_s=0.01, most=100)
    reader = open_log(str(small_disk))
    writer.add(make_record(FillRecord, 0))
    until(lambda: seqs(reader) == [0])
    with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))

    for seq in range(1, 51):
        writer.add(make_record(FillRecord, seq, trade_id="x" * 4096))
    until(lambda: "continues without its audit log" in caplog.text)
    for seq in range(51, 300):
        writer.add(make_record(FillRecord, seq))
    left = writer.close()

    there = seqs(open_log(str(small_disk)))
    assert writer.dropped == 300 - len(there)
    assert left == 100
    assert "No space left on device" in writer.why
    assert writer.dropped_since_ns == make_record(FillRecord, min(set(range(300)) - set(there))).ts_ns
    assert verify(small_disk).findings == ()


@pytest.mark.parametrize("log_url", ["parquet", "sqlite"], indirect=True)
def test_a_record_that_no_log_can_hold_costs_itself_alone(log_url: str) -> None:
    writer = Writer(open_log(log_url), every_s=NEVER_S)
    for seq in range(100):
        changes = {3: {"trade_id": "\ud800"}, 50: {"ts_event": 2**63}}.get(seq, {})
        writer.add(make_record(FillRecord, seq, **changes))

    assert writer.close() == 0

    assert writer.dropped == 2
    assert writer.dropped_since_ns == make_record(FillRecord, 3).ts_ns
    assert seqs(open_log(log_url)) == [seq for seq in range(100) if seq not in (3, 50)]


def test_records_that_a_log_never_took_are_counted_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log").write_text("a file in the way")
    writer = Writer(open_log(str(tmp_path / "log")), every_s=NEVER_S)

    writer.add(make_record(FillRecord, 0))

    assert writer.close() == 1
    assert "1 records are lost" in caplog.text


def test_records_of_a_crashed_run_are_readable_before_and_after_the_next_run(tmp_path: Path) -> None:
    crashed = open_log(str(tmp_path / "before"))
    crashed.keep([make_record(FillRecord, seq, "run-1") for seq in range(5)])
    (stream,) = (tmp_path / "before" / "fills").glob("*.arrows")
    shutil.copytree(tmp_path / "before", tmp_path / "after")  # as when its writer is gone, and its lock with it
    copied = tmp_path / "after" / "fills"

    as_left = seqs(open_log(str(tmp_path / "after")))
    Writer(open_log(str(tmp_path / "after")), every_s=NEVER_S).close()

    assert as_left == seqs(open_log(str(tmp_path / "after"))) == list(range(5))
    assert [path.name for path in copied.iterdir()] == [stream.with_suffix(".parquet").name]
    crashed.close()


@pytest.mark.parametrize("log_url", ["parquet", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_kill_9_costs_no_more_than_the_last_second(log_url: str) -> None:
    command = [sys.executable, str(HERE / "write_until_killed.py"), log_url]
    environment = {"PYTHONPATH": f"{PROJECT}:{HERE}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    printed: list[tuple[int, int]] = []

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        for line in child.stdout:
            seq, at_ns = map(int, line.split())
            printed.append((seq, at_ns))
            if len(printed) > 200 and at_ns - printed[200][1] > 1_400_000_000:
                break
        child.send_signal(signal.SIGKILL)
        killed_ns = time.monotonic_ns()

    log = open_log(log_url)
    as_left = seqs(log)
    is_whole = [is_parquet_whole(log_url)]
    log.tidy()
    is_whole.append(is_parquet_whole(log_url))
    assert all(is_whole)
    due = [seq for seq, at_ns in printed if at_ns <= killed_ns - 1_000_000_000]
    assert len(due) > 100
    assert set(as_left) >= set(due)
    assert seqs(log) == as_left
    assert len(as_left) == len(set(as_left))
    log.close()
