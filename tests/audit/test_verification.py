"""Every change of a log's files by others is found and named; what its writers do is not."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from audit_support import make_record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from nautilus_torchserve.audit.chain import FILE, FOLDER, SIZES, Chain
from nautilus_torchserve.audit.opening import folder_of
from nautilus_torchserve.audit.parquet_log import ParquetLog
from nautilus_torchserve.audit.records import FillRecord, HaltRecord, LogFailed, RequestRecord
from nautilus_torchserve.audit.verification import verify
from support import PROJECT, script_app


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three runs: one that ended, one that crashed with segments open, one that still writes."""
    folder = tmp_path_factory.mktemp("logs") / "written"
    ended = ParquetLog(folder, most_rows=3)
    for seq in range(0, 8, 2):
        ended.keep([make_record(FillRecord, seq, "run-1"), make_record(FillRecord, seq + 1, "run-1")])
    ended.keep([make_record(RequestRecord, 8, "run-1")])
    ended.close()
    crashed = ParquetLog(folder)
    for seq in range(3):
        crashed.keep([make_record(FillRecord, seq, "run-2")])
    crashed.keep([make_record(HaltRecord, 3, "run-2")])
    for segment in crashed._segments.values():
        segment.close()
    return folder


@pytest.fixture
def fresh_copy(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Copies of it."""
    return lambda: shutil.copytree(written, tmp_path_factory.mktemp("copy") / "log")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path: Path, place: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)


def test_an_unchanged_log_has_no_findings(written: Path) -> None:
    verification = verify(written)

    assert verification.findings == ()
    assert (verification.segments, verification.streams, verification.adopted) == (3, 2, 0)
    assert verify(written, verification.last_hash).findings == ()


tampering = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["flip", "remove", "truncate", "append", "rename", "swap", "insert", "empty", "fifo"]),
        "file": st.integers(0, 99),
        "other": st.integers(1, 98),
        "place": st.integers(0, 10**6),
        "bit": st.integers(0, 7),
    }
)


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(how=tampering)
def test_any_change_of_a_file_is_found(fresh_copy: Callable[[], Path], how: dict) -> None:
    folder = fresh_copy()
    paths = files(folder)
    path = paths[how["file"] % len(paths)]
    other = paths[(how["file"] + 1 + how["other"] % (len(paths) - 1)) % len(paths)]
    data = path.read_bytes()
    if how["kind"] == "flip":
        flip(path, how["place"], how["bit"])
    elif how["kind"] == "remove":
        path.unlink()
    elif how["kind"] == "truncate":
        os.truncate(path, how["place"] % len(data))
    elif how["kind"] == "append":
        path.write_bytes(data + b"\n")
    elif how["kind"] == "rename":
        path.rename(path.with_name(f"renamed-{path.name}"))
    elif how["kind"] == "swap":
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
    elif how["kind"] == "insert":
        path = path.with_name(f"run-9-00001{path.suffix}")
        path.write_bytes(data)
    elif how["kind"] == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
        os.mkfifo(path)

    if path.name == FILE and how["kind"] in ("remove", "rename", "fifo"):
        with pytest.raises(LogFailed, match=FILE):
            verify(folder)
        return
    verification = verify(folder)
    if path.suffix == SIZES and how["kind"] == "truncate" and verification.unconfirmed:
        return  # as a crash while the last records were written leaves it; all of them are there
    findings = verification.findings

    assert findings, how
    segment = path.stem.partition("run-")[2]
    assert path.name == FILE or any(segment in finding.file for finding in findings), (how, findings)


def test_every_line_of_the_chain_is_verified(fresh_copy: Callable[[], Path]) -> None:
    original = (fresh_copy() / FOLDER / FILE).read_bytes().splitlines(keepends=True)
    for first in range(len(original)):
        for second in range(first + 1, len(original)):
            folder = fresh_copy()
            lines = original[:]
            lines[first], lines[second] = lines[second], lines[first]
            (folder / FOLDER / FILE).write_bytes(b"".join(lines))
            assert verify(folder).findings
        folder = fresh_copy()
        (folder / FOLDER / FILE).write_bytes(b"".join(original[:first] + original[first + 1 :]))
        assert verify(folder).findings


def test_a_run_that_was_cut_off_is_found_by_a_hash_kept_elsewhere(fresh_copy: Callable[[], Path]) -> None:
    folder = fresh_copy()
    known = verify(folder).last_hash
    lines = (folder / FOLDER / FILE).read_bytes().splitlines(keepends=True)
    (folder / FOLDER / FILE).write_bytes(b"".join(line for line in lines if b"run-2" not in line))
    for path in files(folder):
        if "run-2" in path.name:
            path.unlink()

    assert verify(folder).findings == ()  # nothing in the folder can tell
    (finding,) = verify(folder, known).findings
    assert (finding.file, finding.problem) == (f"{FOLDER}/{FILE}", "missing")


def test_a_log_has_no_findings_after_the_run_that_follows_a_crash(fresh_copy: Callable[[], Path]) -> None:
    folder = fresh_copy()
    log = ParquetLog(folder)

    log.tidy()
    log.keep([make_record(FillRecord, 0, "run-3")])
    log.close()

    assert verify(folder).findings == ()
    assert (verify(folder).segments, verify(folder).streams) == (6, 0)
    assert [record.run_id for record in log.read(FillRecord)] == ["run-1"] * 8 + ["run-2"] * 3 + ["run-3"]


def test_the_next_run_does_not_hide_a_change(fresh_copy: Callable[[], Path]) -> None:
    folder = fresh_copy()
    (stream,) = (folder / "fills").glob("run-2*.arrows")
    os.truncate(stream, stream.stat().st_size - 8)
    shutil.copyfile(stream, stream.with_name("run-9-00001.arrows"))

    log = ParquetLog(folder)
    log.tidy()
    log.keep([make_record(FillRecord, 0, "run-3")])
    log.close()

    assert [(finding.file, finding.problem) for finding in verify(folder).findings] == [
        (f"fills/{stream.name}", "truncated"),
        ("fills/run-9-00001.arrows", "inserted"),
    ]


def test_a_crash_within_the_last_steps_is_finished_by_the_next_run(fresh_copy: Callable[[], Path]) -> None:
    folder = fresh_copy()
    (stream,) = (folder / "fills").glob("run-2*.arrows")
    sizes = Chain(folder).sizes_of(f"fills/{stream.stem}")
    before, sizes_before = stream.read_bytes(), sizes.read_bytes()
    ParquetLog(folder).tidy()
    whole = stream.with_suffix(".parquet")
    for part in (whole.with_suffix(".part"), whole):  # a crash before the file was renamed, and after
        whole.rename(part)
        stream.write_bytes(before)
        sizes.write_bytes(sizes_before)
        assert part == whole or verify(folder).findings == ()

        ParquetLog(folder).tidy()

        assert verify(folder).findings == ()
        assert not stream.exists()


def test_files_from_before_there_was_a_chain_are_taken_into_it(fresh_copy: Callable[[], Path]) -> None:
    folder = fresh_copy()
    shutil.rmtree(folder / FOLDER)
    with pytest.raises(LogFailed, match=f"expected a log with {FOLDER}/{FILE}"):
        verify(folder)

    log = ParquetLog(folder)
    log.keep([make_record(FillRecord, 0, "run-3")])
    log.close()
    verification = verify(folder)

    assert (verification.findings, verification.adopted, verification.segments) == ((), 5, 6)
    (whole,) = (folder / "fills").glob("run-2*.parquet")
    flip(whole, 100, 0)
    assert [finding.file for finding in verify(folder).findings] == [f"fills/{whole.name}"]


def test_runs_that_write_at_once_share_a_chain(tmp_path: Path) -> None:
    done = threading.Event()
    whole: list[bool] = []

    def write(run: str) -> None:
        log = ParquetLog(tmp_path, most_rows=2)
        for seq in range(20):
            log.keep([make_record(FillRecord, seq, run)])
        log.close()

    def look() -> None:
        while not done.is_set():
            if (tmp_path / FOLDER / FILE).exists():
                whole.append(verify(tmp_path).findings == ())

    writers = [threading.Thread(target=write, args=(f"run-{number}",)) for number in range(4)]
    reader = threading.Thread(target=look)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()

    assert all(whole)
    assert len(whole) > 1
    assert (verify(tmp_path).segments, verify(tmp_path).findings) == (40, ())


def test_a_folder_that_was_removed_under_a_run_is_noticed(tmp_path: Path) -> None:
    log = ParquetLog(tmp_path / "log")
    log.keep([make_record(FillRecord, 0)])
    shutil.rmtree(tmp_path / "log")

    with pytest.raises(LogFailed, match="removed while it was written"):
        log.keep([make_record(FillRecord, 1)])
    log.keep([make_record(FillRecord, 1)])
    log.close()

    assert [record.seq for record in ParquetLog(tmp_path / "log").read(FillRecord)] == [1]


def test_the_command_names_each_finding(fresh_copy: Callable[[], Path]) -> None:
    app, runner, folder = script_app(PROJECT / "scripts/audit.py"), CliRunner(), fresh_copy()
    command = ["--verify", "--log", f"parquet:{folder}"]
    whole = runner.invoke(app, command)
    (first, second, third) = sorted((folder / "fills").glob("*.parquet")) + sorted((folder / "asked").glob("*.parquet"))
    flip(first, 50, 3)
    second.unlink()
    os.truncate(third, 10)

    damaged = runner.invoke(app, [*command, "--json"])

    assert (whole.exit_code, damaged.exit_code) == (0, 1)
    assert "is whole: 3 files (0 from before it had a chain), 2 still written" in " ".join(whole.stderr.split())
    for problem, path in (("altered", first), ("missing", second), ("truncated", third)):
        assert f"{problem}: {path.parent.name}/{path.name}: expected " in damaged.stderr
    assert '"whole": false' in damaged.stdout
    assert runner.invoke(app, ["--verify", "--list"]).exit_code == 2


def test_a_database_has_no_chain() -> None:
    with pytest.raises(LogFailed, match="got a database, whose rows have no chain"):
        folder_of("sqlite:///audit.db")
