"""State files: written whole, read strictly, named in one sentence where they are damaged."""

import os
import resource
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.files.state_file import DamagedState, read_state, set_aside, write_state


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    age: int = 0
    births: dict[str, datetime] = {}


def read(path: Path) -> Person:
    return read_state(path, Person, "a person", "write it anew")


@given(st.builds(Person, name=st.text(st.characters(codec="utf-8")), age=st.integers()))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, person: Person) -> None:
    path = tmp_path_factory.getbasetemp() / "person.json"

    write_state(path, person)

    assert read(path) == person
    assert [file.name for file in path.parent.glob(".person*")] == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b" \n", "a blank file"),
        (b'{"name": "a", "age"', "JSON that ends early"),
        (b'{"name": "a"} x', "trailing characters"),
        (b"[1]", "Expected object, got array"),
        (b"null", "Expected object, got null"),
        (b"{}", "missing required field name"),
        (b'{"name": "a", "other": 1}', "unknown field other"),
        (b'{"name": "a", "' + b"x" * 5000 + b'": 1}', "unknown field xxx"),
        (b'{"name": 1}', r"\$.name: Expected str, got int"),
        (b'{"name": "a", "age": true}', r"\$.age: Expected int, got bool"),
        (b'{"name": "a", "age": 1e999}', "age"),
        (b'{"name": "a", "age": ' + b"9" * 5000 + b"}", "."),
        (b'{"name": "a", "births": {"x": "yesterday"}}', r"\$.births\[...\]: Invalid RFC3339"),
        (b'{"name": "\xff"}', "text that is not UTF-8"),
        (b'{"name": "\\ud800"}', "."),
        (b"\x00\x01\x02" * 100, "malformed"),
        (b"[" * 200_000, "."),
        (b'{"name": ' * 200_000, "."),
        (b" " * (17 << 20) + b"1", "more than 16,777,216 bytes"),
    ],
)
def test_damaged_content_is_named_in_one_sentence(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "person.json"
    path.write_bytes(content)

    with pytest.raises(DamagedState, match=f"^{path}: expected a person, got .*{found}.*: write it anew$") as damaged:
        read(path)

    assert len(str(damaged.value)) < len(str(path)) + 260


@given(data=st.data())
def test_no_damage_of_bytes_ends_otherwise(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Cut anywhere, and with any bytes replaced by others."""
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    good = msgspec.json.encode(Person("Ann", 44, {"x": datetime(2026, 1, 1)}))
    cut = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(cut, len(good)))
    path.write_bytes(good[:cut] + data.draw(st.binary(max_size=8)) + good[end:])

    with suppress(DamagedState):
        assert isinstance(read(path), Person)


def test_what_is_no_regular_file_is_named(tmp_path: Path) -> None:
    folder, loop, pipe = tmp_path / "folder", tmp_path / "loop", tmp_path / "pipe"
    folder.mkdir()
    loop.symlink_to(loop)
    os.mkfifo(pipe)

    for path, found in ((folder, "a folder"), (loop, "symbolic links"), (pipe, "pipe"), (Path("/dev/zero"), "device")):
        with pytest.raises(DamagedState, match=found):
            read(path)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")


def test_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """A file-size limit of the kernel stands for the disk."""
    path = tmp_path / "person.json"
    write_state(path, Person("Ann"))
    code = (
        "import resource, sys; from pathlib import Path; from nautilus_torchserve.files.state_file import write_state\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))\n"
        f"write_state(Path({str(path)!r}), ['x' * 2000])\n"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert f"File too large: '{path}'" in result.stderr
    assert read(path) == Person("Ann")
    assert list(tmp_path.iterdir()) == [path]


def test_set_aside_keeps_every_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "person.json"
    for content in ("one", "two"):
        path.write_text(content)
        set_aside(path)
    path.mkdir()
    set_aside(path)

    assert not path.exists()
    assert [file.read_text() for file in sorted(tmp_path.iterdir()) if file.is_file()] == ["one", "two"]


def test_nesting_without_an_end_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b'{"a":' * 100_000)

    with pytest.raises(DamagedState, match="JSON that is nested too deeply"):
        read_state(tmp_path / "state.json", dict[str, object], "an object", "write it anew")
