"""Verifying an archive: only what a trusted key signed passes, and a refusal names the reason."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from forged_zip import Entry, entries_of, forge
from signed_archives import EVIL, HONEST, keys, packed, signed

from nautilus_torchserve.signing.archive_signature import Untrusted, sign_archive, verify_archive
from nautilus_torchserve.signing.trust import read_trust
from nautilus_torchserve.wire.digest import MANIFEST, SIGNATURE, archive_digest


def test_verification_prints_a_signed_archives_identity(pair: tuple[Path, Path], tmp_path: Path) -> None:
    archive = signed(tmp_path / "tick.mar", pair[0])

    verified = verify_archive(archive, pair[1])

    assert vars(verified) == {"model": "tick", "version": "1.0", "digest": archive_digest(archive), "signer": "alice"}


def test_an_unsigned_archive_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="expected a signed archive, got an unsigned one"):
        verify_archive(packed(tmp_path / "tick.mar"), pair[1])


@pytest.mark.parametrize(
    "alter",
    [
        lambda members: members | {"tick_handler.py": EVIL},
        lambda members: members | {"evil.py": EVIL},
        lambda members: {name: data for name, data in members.items() if name != "wire/__init__.py"},
        lambda members: (
            members
            | {"tick_handler.py": members["weights.safetensors"], "weights.safetensors": members["tick_handler.py"]}
        ),
        lambda members: members | {MANIFEST: members[MANIFEST].replace(b'"1.0"', b'"1.1"')},
        lambda members: members | {MANIFEST: members[MANIFEST].replace(b'"tick"', b'"news"')},
        lambda members: members | {MANIFEST: members[MANIFEST].replace(b"tick_handler.py", b"wire/__init__.py")},
    ],
    ids=["another content", "one more", "one less", "swapped", "another version", "another model", "another handler"],
)
def test_an_altered_archive_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, alter: Callable[[dict[str, bytes]], dict[str, bytes]]
) -> None:
    archive = signed(tmp_path / "tick.mar", pair[0])
    members = {entry.name: entry.data for entry in entries_of(archive)}
    altered = forge(tmp_path / "altered.mar", [Entry(*member) for member in alter(members).items()])

    with pytest.raises(Untrusted, match=r"altered since alice signed it: expected content [0-9a-f]{64}, got [0-9a-f]"):
        verify_archive(altered, pair[1])


def test_the_date_of_packing_is_not_content(pair: tuple[Path, Path], tmp_path: Path) -> None:
    archive = signed(tmp_path / "tick.mar", pair[0])
    entries = [Entry(entry.name, entry.data.replace(b"01/02/2026", b"02/02/2026")) for entry in entries_of(archive)]

    assert verify_archive(forge(tmp_path / "later.mar", entries), pair[1]) == verify_archive(archive, pair[1])


def test_an_untrusted_key_is_named_with_the_trusted_ones(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    mallorys, _ = keys(tmp_path / "elsewhere", "mallory")
    archive = signed(tmp_path / "tick.mar", mallorys)
    (known,) = read_trust(pair[1]).keys

    with pytest.raises(Untrusted, match=rf"a key in .*trusted, got one by .*: alice \({known}\)"):
        verify_archive(archive, pair[1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(Untrusted, match=r"keys there: none"):
        verify_archive(archive, tmp_path / "empty")
    with pytest.raises(Untrusted, match="expected a folder of public keys, got none"):
        verify_archive(archive, tmp_path / "nowhere")


def test_a_trusted_file_that_is_no_key_is_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    trusted = shutil.copytree(pair[1], tmp_path / "trusted")
    (trusted / "bob.pub").write_text("ssh-ed25519 AAAA bob")

    with pytest.raises(Untrusted, match=r"bob\.pub: expected an Ed25519 public key in PEM"):
        verify_archive(signed(tmp_path / "tick.mar", pair[0]), trusted)


def test_a_signature_of_another_archive_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = signed(tmp_path / "other.mar", pair[0], {"tick_handler.py": b"print('older')\n"})
    (signature,) = (entry for entry in entries_of(other) if entry.name == SIGNATURE)
    entries = [*entries_of(packed(tmp_path / "x.mar")), signature]

    with pytest.raises(Untrusted, match="altered since alice signed it"):
        verify_archive(forge(tmp_path / "tick.mar", entries), pair[1])


def resigned(archive: Path, to: Path, change: Callable[[dict], object]) -> Path:
    """Return an archive whose signature is about something else."""
    entries = {entry.name: entry for entry in entries_of(archive)}
    signature = change(json.loads(entries[SIGNATURE].data))
    data = signature if isinstance(signature, bytes) else json.dumps(signature).encode()
    return forge(to, [*(entry for name, entry in entries.items() if name != SIGNATURE), Entry(SIGNATURE, data)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda signature: signature | {"digest": "0" * 64}, "was not made with that key"),
        (
            lambda signature: signature | {"signature": base64.b64encode(bytes(64)).decode()},
            "was not made with that key",
        ),
        (lambda signature: signature | {"signature": ""}, "was not made with that key"),
        (lambda signature: signature | {"signature": "\u00e4"}, "was not made with that key"),
        (lambda signature: signature | {"signature": signature["signature"] + "!"}, "was not made with that key"),
        (lambda signature: signature | {"algorithm": "none"}, "expected ed25519 over a SHA-256, got 'none'"),
        (lambda signature: signature | {"digest": "x"}, "expected ed25519 over a SHA-256"),
        (lambda signature: signature | {"digest": None}, 'expected a text as "digest", got NoneType'),
        (lambda signature: signature | {"signature": 7}, 'expected a text as "signature", got int'),
        (lambda signature: signature | {"key_id": ["x"]}, 'expected a text as "key_id", got list'),
        (lambda signature: {}, 'expected a text as "algorithm"'),
        (lambda signature: [signature], "expected a JSON object, got list"),
        (lambda signature: b"", "expected JSON"),
        (lambda signature: b"\xff\xfe", "expected JSON"),
        (lambda signature: b"[" * 100_000, "expected JSON"),
        (lambda signature: b'{"digest": "1", "digest": "2"}', "expected every key once"),
    ],
)
def test_an_invalid_signature_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, change: Callable[[dict], object], reason: str
) -> None:
    archive = resigned(signed(tmp_path / "x.mar", pair[0]), tmp_path / "tick.mar", change)

    with pytest.raises(Untrusted, match=reason):
        verify_archive(archive, pair[1])


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (b"", "expected JSON"),
        (b"[]", "expected a JSON object, got list"),
        (b'{"model": 1}', 'expected an object as "model", got int'),
        (b'{"model": {"modelVersion": "1"}}', "a modelName of letters, digits"),
        (b'{"model": {"modelName": "tick", "modelVersion": 1}}', "a modelVersion of letters, digits"),
        (b'{"model": {"modelName": "../tick", "modelVersion": "1"}}', "a modelName of letters, digits"),
        (b'{"model": {"modelName": "tick", "modelVersion": "1/../../x"}}', "a modelVersion of letters, digits"),
        (b'{"model": {"modelName": "tick\\n", "modelVersion": "1"}}', "a modelName of letters, digits"),
        (b'{"model": {"modelName": "tick", "modelName": "news", "modelVersion": "1"}}', "expected every key once"),
        (b'{"model": {"modelName": "tick", "modelname": "news", "modelVersion": "1"}}', "expected every key once"),
        (b'{"createdOn": {"x": 1}, "model": {"modelName": "tick", "modelVersion": "1"}}', "a date as createdOn"),
        (b'{"createdOn": "a\\nb", "model": {"modelName": "tick", "modelVersion": "1"}}', "a date as createdOn"),
        (b'{"x": NaN, "model": {"modelName": "tick", "modelVersion": "1"}}', "expected finite numbers, got NaN"),
        (b'{"x": 1e999, "model": {"modelName": "tick", "modelVersion": "1"}}', "expected JSON"),
    ],
)
def test_a_manifest_that_readers_may_read_differently_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, manifest: bytes, reason: str
) -> None:
    archive = forge(tmp_path / "tick.mar", [Entry("tick_handler.py", EVIL), Entry(MANIFEST, manifest)])

    for refuse in (lambda: sign_archive(archive, pair[0]), lambda: verify_archive(archive, pair[1])):
        with pytest.raises(Untrusted, match=reason):
            refuse()


@pytest.mark.parametrize(
    ("data", "reason"), [(None, "got no file"), (b"", "got 0 bytes"), (b"x" * 100, "got another file")]
)
def test_a_file_that_is_no_archive_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, data: bytes | None, reason: str
) -> None:
    archive = tmp_path / "tick.mar"
    if data is not None:
        archive.write_bytes(data)

    with pytest.raises(Untrusted, match=rf"tick\.mar: expected a .*{reason}"):
        verify_archive(archive, pair[1])


def test_a_zip_file_without_a_manifest_is_no_archive(pair: tuple[Path, Path], tmp_path: Path) -> None:
    archive = forge(tmp_path / "x.zip", [Entry(*member) for member in HONEST.items()])

    with pytest.raises(Untrusted, match=r"got a zip file without MAR-INF/MANIFEST\.json"):
        verify_archive(archive, pair[1])
