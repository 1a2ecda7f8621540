"""Which files of a watched folder count as whole archives, and when."""

import os
import time
from pathlib import Path

from signed_archives import packed

from nautilus_torchserve.release.watch.watch import complete_archives, list_files


def test_half_an_archive_has_not_arrived_however_long_it_stalls(tmp_path: Path) -> None:
    whole = packed(tmp_path / "whole").read_bytes()
    copy = tmp_path / "tick.mar"
    for length in range(0, len(whole), 7):
        copy.write_bytes(whole[:length])
        seen = list_files(tmp_path, {})
        assert complete_archives(tmp_path, seen, list_files(tmp_path, seen), interval_s=0.0) == []

    copy.write_bytes(whole)

    seen = list_files(tmp_path, {})
    assert complete_archives(tmp_path, seen, list_files(tmp_path, seen), interval_s=0.0) == [copy]


def test_an_archive_that_still_changes_has_not_arrived(tmp_path: Path) -> None:
    archive = packed(tmp_path / "tick.mar")
    seen = list_files(tmp_path, {})
    (first,) = seen.values()

    archive.write_bytes(archive.read_bytes())  # the same again, a moment later
    os.utime(archive, ns=(1, first.mtime_ns + 1))
    again = list_files(tmp_path, seen)

    (second,) = again.values()
    assert second.since_s > first.since_s
    assert complete_archives(tmp_path, seen, again, interval_s=3600.0) == []
    (unchanged,) = list_files(tmp_path, again).values()
    assert unchanged == second


def test_a_renamed_archive_has_arrived_at_once(tmp_path: Path) -> None:
    copied, changed = packed(tmp_path / "tick.mar.part"), packed(tmp_path / "news.mar.part")
    seen = list_files(tmp_path, {})

    copied.rename(tmp_path / "tick.mar")
    changed.rename(tmp_path / "news.mar")
    os.utime(tmp_path / "news.mar", ns=(1, 1))

    assert complete_archives(tmp_path, seen, list_files(tmp_path, seen), interval_s=3600.0) == [tmp_path / "tick.mar"]


def test_a_half_written_archive_is_taken_once_nothing_writes_to_it(tmp_path: Path) -> None:
    (tmp_path / "tick.mar").write_bytes(b"half")
    seen = list_files(tmp_path, {})

    assert complete_archives(tmp_path, seen, list_files(tmp_path, seen), 0.0, patience_s=60.0) == []
    minute_ago = time.time() - 61
    os.utime(tmp_path / "tick.mar", (minute_ago, minute_ago))
    assert complete_archives(tmp_path, seen, list_files(tmp_path, seen), 0.0, patience_s=60.0) == [
        tmp_path / "tick.mar"
    ]


def test_only_archives_are_taken_the_older_ones_first(tmp_path: Path) -> None:
    for number, name in enumerate(["b.mar", "a.mar", ".hidden.mar", "notes.txt", "a.mar.json"]):
        os.utime(packed(tmp_path / name), ns=(number, number))
    (tmp_path / "folder.mar").mkdir()
    seen = list_files(tmp_path, {})

    complete = complete_archives(tmp_path, seen, list_files(tmp_path, seen), interval_s=0.0, patience_s=0.0)

    assert [path.name for path in complete] == ["b.mar", "a.mar"]
