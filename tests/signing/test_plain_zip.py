"""Whoever unpacks a verified archive gets the members that were signed: what could hide in a zip file is refused."""

import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
from forged_zip import Entry, deflate, entries_of, forge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signed_archives import EVIL, HONEST, content, keys, packed, signed

from nautilus_torchserve.signing.archive_signature import Untrusted, sign_archive, verify_archive
from nautilus_torchserve.signing.plain_zip import MOST_MEMBERS, NotPlain, list_members
from nautilus_torchserve.wire.digest import MANIFEST, SIGNATURE

Entries = list[Entry]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signed archive, and the folder of keys that trusts it."""
    folder = tmp_path_factory.mktemp("made")
    key, trusted = keys(folder)
    return signed(folder / "tick.mar", key), trusted


def changed(entries: Entries, name: str, **changes: object) -> Entries:
    """With one member listed in another way."""
    assert name in [entry.name for entry in entries]
    return [replace(entry, **changes) if entry.name == name else entry for entry in entries]  # type: ignore[arg-type]


def with_evil(name: str, **changes: object) -> Callable[[Entries], Entries]:
    return lambda entries: [*entries, replace(Entry(name, EVIL), **changes)]  # type: ignore[arg-type]


def listed_as(name: str, **changes: object) -> Callable[[Entries], Entries]:
    return lambda entries: changed(entries, name, **changes)


HIDDEN_LOCAL = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 4, 0) + b"evil"
BOMB = bytes(10_000_000)

ATTACKS: dict[str, tuple[Callable[[Entries], Entries], str]] = {
    "the same name twice": (with_evil("tick_handler.py"), "every member once"),
    "a name in another case": (with_evil("Tick_Handler.py"), "every member once"),
    "a folder in another case": (with_evil("Wire/evil.py"), "as one folder, in the same case"),
    "a file where a folder is": (with_evil("wire"), "every member once"),
    "a folder where a file is": (with_evil("tick_handler.py/evil.py"), "as one folder"),
    "unlisted in the directory": (with_evil("evil.py", listed=False), "the central directory at byte"),
    "unlisted between others": (lambda e: [e[0], Entry("evil.py", EVIL, listed=False), *e[1:]], "expected its header"),
    "bytes before the first": (lambda e: [replace(e[0], before=EVIL), *e[1:]], "expected its header at byte 0"),
    "bytes between members": (lambda e: [e[0], replace(e[1], before=EVIL), *e[2:]], "expected its header"),
    "another name in its header": (listed_as("tick_handler.py", local_name="evil.py"), "a header that agrees"),
    "listed in another order": (lambda e: [replace(e[0], listed=False), *e[1:], replace(e[0], packed=b"")], "expected"),
    "up and out": (with_evil("../evil.py"), "plain letters"),
    "up and out further in": (with_evil("wire/../../evil.py"), "plain letters"),
    "absolute": (with_evil("/etc/cron.d/evil"), "plain letters"),
    "backslashes": (with_evil("wire\\..\\evil.py"), "plain letters"),
    "a drive": (with_evil("C:evil.py"), "plain letters"),
    "here": (with_evil("wire/./evil.py"), "plain letters"),
    "nothing between slashes": (with_evil("wire//evil.py"), "plain letters"),
    "a line break": (with_evil("a\n0  b"), "plain letters"),
    "a zero byte": (with_evil("evil.py\0.txt"), "plain letters"),
    "another alphabet": (with_evil("t\u0456ck_handler.py", flags=0x800), "plain letters"),
    "no name": (with_evil(""), "plain letters"),
    "a folder": (lambda e: [*e, Entry("torch/", b"")], "plain letters"),
    "a link": (with_evil("evil.py", attributes=0o120777 << 16), "expected a file, got a link"),
    "a device": (with_evil("evil", attributes=0o060666 << 16), "expected a file"),
    "compiled code that no digest sees": (with_evil("wire/__pycache__/x.cpython-311.pyc"), "expected no __pycache__"),
    "encrypted": (listed_as("tick_handler.py", flags=1), "without encryption"),
    "sizes that come later": (listed_as("tick_handler.py", flags=8), "without encryption, late sizes"),
    "an extra field": (listed_as("tick_handler.py", extra=struct.pack("<HH", 0x7075, 4) + b"evil"), "no extra fields"),
    "an extra field behind that of ZIP64": (
        listed_as("tick_handler.py", size=0xFFFFFFFF, extra=struct.pack("<HHQHH", 1, 8, 16, 0x7075, 4) + b"evil"),
        "no extra fields but those of ZIP64",
    ),
    "a comment of a member": (listed_as("tick_handler.py", comment=b"evil"), "late sizes and comments"),
    "another checksum": (listed_as("tick_handler.py", crc=7), "damaged"),
    "longer than declared": (
        listed_as("weights.safetensors", packed=deflate(BOMB), deflated=True, size=2304),
        "as declared, got more",
    ),
    "shorter than declared": (listed_as("tick_handler.py", size=17), "damaged: expected 17 bytes"),
    "something behind what is compressed": (
        listed_as("tick_handler.py", packed=deflate(HONEST["tick_handler.py"]) + HIDDEN_LOCAL, deflated=True),
        "another length",
    ),
    "compressed and cut off": (
        listed_as("tick_handler.py", packed=deflate(HONEST["tick_handler.py"])[:-3], deflated=True),
        "another length",
    ),
    "no compression at all": (listed_as("tick_handler.py", packed=b"\xff" * 9, deflated=True), "damaged"),
}


@pytest.mark.parametrize(("attack", "reason"), ATTACKS.values(), ids=ATTACKS)
def test_archives_with_hidden_content_are_refused(
    made: tuple[Path, Path], tmp_path: Path, attack: Callable[[Entries], Entries], reason: str
) -> None:
    archive, trusted = made
    forged = forge(tmp_path / "tick.mar", attack(entries_of(archive)))

    with pytest.raises(Untrusted, match=reason):
        verify_archive(forged, trusted)


@pytest.mark.parametrize(
    ("around", "reason"),
    [
        ({"gap": HIDDEN_LOCAL}, "the central directory at byte"),
        ({"after": EVIL}, "something follows"),
        ({"comment": EVIL}, "something follows"),
        ({"comment_bytes": 5}, "something follows"),
        ({"count": 2}, "bytes of central directory for 2 members"),
        ({"count": 200}, "cut off"),
        ({"count": 0xFFFF}, f"at most {MOST_MEMBERS:,} members"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bytes_that_no_member_accounts_for_are_refused(
    made: tuple[Path, Path], tmp_path: Path, around: dict, reason: str
) -> None:
    archive, trusted = made
    forged = forge(tmp_path / "tick.mar", entries_of(archive), **around)

    with pytest.raises(Untrusted, match=reason):
        verify_archive(forged, trusted)


def test_the_forger_alone_is_honest(made: tuple[Path, Path], tmp_path: Path) -> None:
    """The attacks above are refused for nothing but what they change."""
    archive, trusted = made
    plain = forge(tmp_path / "plain.mar", entries_of(archive))
    deflated = forge(
        tmp_path / "deflated.mar",
        [replace(entry, packed=deflate(entry.data), deflated=True) for entry in entries_of(archive)],
    )

    assert verify_archive(plain, trusted) == verify_archive(deflated, trusted) == verify_archive(archive, trusted)


def test_java_runs_members_that_python_does_not_see(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Why all this: an archive of which Python reads what was signed, and a reader of headers something else."""
    archive, _ = made
    handler = next(entry for entry in entries_of(archive) if entry.name == "tick_handler.py")
    evil = replace(handler, data=EVIL, listed=False)

    forged = forge(tmp_path / "tick.mar", [*entries_of(archive), evil])

    assert content(forged) == content(archive)
    unpacked = [data for name, data in by_headers(forged) if name == "tick_handler.py"]
    assert unpacked[-1] == EVIL


def by_headers(path: Path) -> list[tuple[str, bytes]]:
    """Return what a reader finds that goes from header to header, as Java's ZipInputStream; stored members only."""
    data, at, found = path.read_bytes(), 0, []
    while data[at : at + 4] == b"PK\3\4":
        packed, _, name_bytes, extra_bytes = struct.unpack_from("<IIHH", data, at + 18)
        begins = at + 30 + name_bytes + extra_bytes
        found.append((data[at + 30 : at + 30 + name_bytes].decode(), data[begins : begins + packed]))
        at = begins + packed
    return found


def test_a_bomb_is_refused_before_it_is_unpacked(made: tuple[Path, Path], tmp_path: Path) -> None:
    archive, trusted = made
    bomb = Entry("weights.bin", b"", packed=deflate(BOMB), deflated=True, size=0xFFFFFFF0)
    forged = forge(tmp_path / "tick.mar", [*entries_of(archive), bomb, replace(bomb, name="more.bin")])

    with pytest.raises(Untrusted, match=r"expected at most 4,294,967,296 bytes unpacked, got 8,589,9"):
        verify_archive(forged, trusted)
    with pytest.raises(Untrusted, match=r"expected at most 2,000 bytes unpacked, got"):
        verify_archive(archive, trusted, most_bytes=2000)
    with pytest.raises(Untrusted, match=r"expected at most 200 bytes, got"):
        verify_archive(archive, trusted, most_bytes=200)


@pytest.mark.parametrize("name", [MANIFEST, SIGNATURE])
def test_a_large_manifest_or_signature_is_refused(made: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    archive, trusted = made
    entries = [entry for entry in entries_of(archive) if entry.name != name]
    forged = forge(tmp_path / "tick.mar", [*entries, Entry(name, BOMB)])

    with pytest.raises(Untrusted, match=f"{name}: expected at most 1,048,576 bytes"):
        verify_archive(forged, trusted)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_archive_with_any_bytes_changed_is_refused_or_has_the_signed_content(
    made: tuple[Path, Path], tmp_path: Path, data: st.DataObject
) -> None:
    archive, trusted = made
    raw = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        kind = data.draw(st.sampled_from(["set", "insert", "delete"]))
        if kind == "delete":
            del raw[at : at + data.draw(st.integers(1, 40))]
        else:
            raw[at : at + (kind == "set")] = bytes([data.draw(st.integers(0, 255))])
    (tmp_path / "tick.mar").write_bytes(raw)

    try:
        with (tmp_path / "copy").open("wb") as copy:
            verified = verify_archive(tmp_path / "tick.mar", trusted, copy=copy)
    except Untrusted:
        return
    assert verified == verify_archive(archive, trusted)
    assert signed_part(tmp_path / "tick.mar") == signed_part(tmp_path / "copy") == signed_part(archive)


def signed_part(path: Path) -> dict[str, bytes]:
    """Return all members without the manifest's date."""
    members = content(path)
    assert members[MANIFEST].startswith(b'{"createdOn": "')
    members[MANIFEST] = members[MANIFEST].removeprefix(b'{"createdOn": "').partition(b'"')[2]
    return members


@pytest.mark.parametrize("limit", ["ZIP64_LIMIT", "ZIP_FILECOUNT_LIMIT"])
def test_large_archives_need_zip64_and_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    key, trusted = keys(tmp_path)
    monkeypatch.setattr(zipfile, limit, 3)  # so that Python writes ZIP64 for small ones too

    archive = packed(tmp_path / "tick.mar")

    assert b"PK\6\6" in archive.read_bytes()
    sign_archive(archive, key)
    assert b"PK\6\6" in archive.read_bytes()
    assert verify_archive(archive, trusted).model == "tick"
    assert content(archive)["weights.safetensors"] == HONEST["weights.safetensors"]


@pytest.mark.parametrize("field", [8, 12, 16], ids=["members", "bytes", "place"])
def test_two_ends_of_the_directory_that_disagree_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: int
) -> None:
    """One for readers that know ZIP64, one for those that do not."""
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 3)
        archive = packed(tmp_path / "tick.mar")
    raw = bytearray(archive.read_bytes())
    struct.pack_into("<HH" if field == 8 else "<I", raw, len(raw) - 22 + field, *([1, 1] if field == 8 else [1]))
    archive.write_bytes(raw)

    with archive.open("rb") as file, pytest.raises(NotPlain, match="expected one central directory, got"):
        list_members(file)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_zip64_archive_with_any_byte_changed_is_refused_or_has_the_same_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 3)
        archive = packed(tmp_path / "tick.mar", {"a": b"abcd"})
    raw = bytearray(archive.read_bytes())
    at = data.draw(st.integers(raw.index(b"PK\1\2"), len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    archive.write_bytes(raw)

    try:
        with archive.open("rb") as file:
            members = list_members(file)
    except NotPlain:
        return
    assert [member.name for member in members] == ["a", MANIFEST]
    with ZipFile(archive) as found:
        assert found.namelist() == ["a", MANIFEST]
