"""Signatures: only what a trusted key has signed, as it is, is verified; every refusal says which it was."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from forged_zip import Entry, entries_of, forge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signed_archives import EVIL, HONEST, MANIFEST_SAYS, content, keys, mode, packed, signed

from nautilus_torchserve.release.build.archive import build_archive
from nautilus_torchserve.serving.client.client import connect
from nautilus_torchserve.signing.archive_signature import Untrusted, sign_archive, verify_archive
from nautilus_torchserve.signing.keys import PASSPHRASE, BadKey, load_private_key, make_key
from nautilus_torchserve.signing.trust import read_trust
from nautilus_torchserve.wire.digest import MANIFEST, SIGNATURE, archive_digest

NAMES = st.from_regex(r"[a-c_][a-z0-9_.]{0,3}(/[a-c_][a-z0-9_.]{0,3})?", fullmatch=True)
ANYWHERE = [HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Alice's private key, and the folder that trusts her."""
    return keys(tmp_path_factory.mktemp("keys"))


# --- keys


def test_only_the_owner_can_read_a_private_key(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        private, trusted = keys(tmp_path / "deep" / "er")
    finally:
        os.umask(old)

    assert mode(private) == 0o600
    assert mode(private.parent) == 0o700
    assert mode(trusted / "alice.pub") == 0o644
    assert b"PRIVATE" not in (trusted / "alice.pub").read_bytes()


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    private, trusted = keys(tmp_path)
    before = private.read_bytes(), (trusted / "alice.pub").read_bytes()

    with pytest.raises(BadKey, match=r"alice\.key: a new file expected, was there already"):
        make_key(private, trusted / "other.pub")
    with pytest.raises(BadKey, match=r"alice\.pub: a new file expected, was there already"):
        make_key(tmp_path / "other.key", trusted / "alice.pub")

    assert before == (private.read_bytes(), (trusted / "alice.pub").read_bytes())
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["alice.key", "alice.pub"]


def test_half_a_pair_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / "alice.pub").symlink_to(tmp_path / "nowhere")  # does not exist, and cannot be created anew either

    with pytest.raises(BadKey, match=r"alice\.pub: a new file expected: File exists"):
        make_key(tmp_path / "alice.key", tmp_path / "alice.pub")

    assert not (tmp_path / "alice.key").exists()


def test_a_private_key_stays_out_of_git(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "repo")], check=True)
    (tmp_path / "repo" / "deeper").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "repo" / "deeper")

    for private in (tmp_path / "repo" / "a.key", tmp_path / "repo" / "deep" / "a.key", tmp_path / "link" / "a.key"):
        with pytest.raises(BadKey, match="outside of git"):
            make_key(private, tmp_path / "a.pub")

    assert list(tmp_path.rglob("a.*")) == []


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    private, _ = keys(tmp_path)
    private.chmod(0o640)

    with pytest.raises(BadKey, match=r"only its owner may read expected, was of mode 0640 \(chmod 600\)"):
        load_private_key(private)


def test_a_key_with_a_passphrase_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "correct horse")
    private, trusted = keys(tmp_path)
    archive = packed(tmp_path / "tick.mar")

    assert sign_archive(archive, private).key_id in read_trust(trusted).keys
    monkeypatch.setenv(PASSPHRASE, "battery staple")
    with pytest.raises(BadKey, match=f"the passphrase in {PASSPHRASE} is another"):
        sign_archive(archive, private)
    monkeypatch.setenv(PASSPHRASE, "")  # what CI makes of a secret that is not set
    with pytest.raises(BadKey, match=f"was encrypted, and no {PASSPHRASE} is set"):
        sign_archive(archive, private)
    assert b"ENCRYPTED" in private.read_bytes()


def test_a_passphrase_for_a_key_without_is_a_mistake(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "correct horse")

    with pytest.raises(BadKey, match="was one without passphrase"):
        load_private_key(pair[0])


@pytest.mark.parametrize("written", [bytes.decode, lambda pem: base64.b64encode(pem).decode()], ids=["PEM", "Base64"])
def test_a_key_may_come_from_the_environment(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Callable[[bytes], str]
) -> None:
    private, trusted = pair
    monkeypatch.setenv("ARCHIVE_SIGN_KEY", written(private.read_bytes()))
    archive = packed(tmp_path / "tick.mar")

    sign_archive(archive, "env:ARCHIVE_SIGN_KEY")

    assert verify_archive(archive, trusted).signer == "alice"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "was empty or not set"),
        ("  \n", "was empty or not set"),
        ("secret!", "or the Base64 of that, expected, was neither"),
        ("c2VjcmV0", "an Ed25519 private key in PEM expected, was not readable as one"),
        ("-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n", "was not readable as one"),
    ],
)
def test_what_is_no_key_is_refused_without_repeating_it(
    monkeypatch: pytest.MonkeyPatch, text: str | None, reason: str
) -> None:
    monkeypatch.delenv("ARCHIVE_SIGN_KEY", raising=False)
    if text is not None:
        monkeypatch.setenv("ARCHIVE_SIGN_KEY", text)

    with pytest.raises(BadKey, match=reason) as caught:
        load_private_key("env:ARCHIVE_SIGN_KEY")
    assert "env:ARCHIVE_SIGN_KEY" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1())
    (tmp_path / "a.key").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "a.key").chmod(0o600)
    (tmp_path / "a.pub").write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    with pytest.raises(BadKey, match=r"a\.key: an Ed25519 private key expected, was a ECPrivateKey"):
        load_private_key(tmp_path / "a.key")
    with pytest.raises(BadKey, match=r"a\.pub: expected an Ed25519 public key, got a ECPublicKey"):
        read_trust(tmp_path)


# --- signing


@settings(max_examples=40, deadline=None, suppress_health_check=ANYWHERE)
@given(st.dictionaries(NAMES, st.binary(max_size=40), max_size=5))
def test_signing_changes_no_content(pair: tuple[Path, Path], tmp_path: Path, members: dict[str, bytes]) -> None:
    key, trusted = pair
    archive = packed(tmp_path / "tick.mar", members)
    before, digest = content(archive), archive_digest(archive)

    try:
        once = sign_archive(archive, key)
    except Untrusted:  # a folder where a file is, __pycache__
        assert content(archive) == before
        return
    twice = sign_archive(archive, key)

    assert once.digest == twice.digest == archive_digest(archive) == verify_archive(archive, trusted).digest == digest
    assert content(archive) == before


def test_signing_twice_leaves_the_last_signature(pair: tuple[Path, Path], tmp_path: Path) -> None:
    bobs, trusted = keys(tmp_path, "bob")
    archive = signed(tmp_path / "tick.mar", pair[0])

    sign_archive(archive, bobs)

    assert verify_archive(archive, trusted).signer == "bob"
    with ZipFile(archive) as members:
        assert members.namelist().count(SIGNATURE) == 1
    with pytest.raises(Untrusted, match=r"keys there: alice \("):
        verify_archive(archive, pair[1])


def test_a_signature_names_key_digest_and_time(pair: tuple[Path, Path], tmp_path: Path) -> None:
    archive = packed(tmp_path / "tick.mar")
    archive.chmod(0o640)

    made = sign_archive(archive, pair[0])

    with ZipFile(archive) as members:
        said = json.loads(members.read(SIGNATURE))
    assert (said["key_id"], said["digest"], said["signed_at"]) == (made.key_id, made.digest, made.signed_at)
    assert made.key_id in read_trust(pair[1]).keys
    assert made.signed_at.endswith("Z")
    assert (made.model, made.version) == ("tick", "1.0")
    assert mode(archive) == 0o640


def test_what_could_not_be_verified_is_not_signed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    archive = forge(tmp_path / "tick.mar", entries_of(packed(tmp_path / "x.mar")), after=EVIL)
    before = archive.read_bytes()

    with pytest.raises(Untrusted, match="something follows"):
        sign_archive(archive, pair[0])

    assert archive.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tick.mar", "x.mar"]


def test_an_archive_whose_worker_would_count_the_signature_is_not_signed(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    archive = packed(tmp_path / "tick.mar", {"wire/digest.py": b"def folder_digest(folder): ...\n"})

    with pytest.raises(Untrusted, match=r"wire/digest\.py that leaves MAR-INF/SIGNATURE\.json out expected"):
        sign_archive(archive, pair[0])


def test_a_link_to_an_archive_is_followed(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    archive = packed(tmp_path / "real" / "tick.mar")
    (tmp_path / "link.mar").symlink_to(archive)

    sign_archive(tmp_path / "link.mar", pair[0])

    assert (tmp_path / "link.mar").is_symlink()
    assert verify_archive(archive, pair[1]).signer == "alice"


# --- verifying


def test_a_signed_archive_says_what_it_is(pair: tuple[Path, Path], tmp_path: Path) -> None:
    archive = signed(tmp_path / "tick.mar", pair[0])

    verified = verify_archive(archive, pair[1])

    assert vars(verified) == {"model": "tick", "version": "1.0", "digest": archive_digest(archive), "signer": "alice"}


def test_an_unsigned_archive_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="a signed archive expected, was unsigned"):
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
    altered = forge(tmp_path / "altered.mar", [Entry(*each) for each in alter(members).items()])

    with pytest.raises(Untrusted, match=r"altered since alice signed it: content [0-9a-f]{64} expected, was [0-9a-f]"):
        verify_archive(altered, pair[1])


def test_the_date_of_packing_is_not_content(pair: tuple[Path, Path], tmp_path: Path) -> None:
    archive = signed(tmp_path / "tick.mar", pair[0])
    entries = [Entry(each.name, each.data.replace(b"01/02/2026", b"02/02/2026")) for each in entries_of(archive)]

    assert verify_archive(forge(tmp_path / "later.mar", entries), pair[1]) == verify_archive(archive, pair[1])


def test_a_key_that_is_not_trusted_is_named_with_those_that_are(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    mallorys, _ = keys(tmp_path / "elsewhere", "mallory")
    archive = signed(tmp_path / "tick.mar", mallorys)
    (known,) = read_trust(pair[1]).keys

    with pytest.raises(Untrusted, match=rf"a key in .*trusted, got one by .*: alice \({known}\)"):
        verify_archive(archive, pair[1])
    (tmp_path / "nobody").mkdir()
    with pytest.raises(Untrusted, match=r"keys there: none"):
        verify_archive(archive, tmp_path / "nobody")
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
    """An archive whose signature says something else."""
    entries = {entry.name: entry for entry in entries_of(archive)}
    said = change(json.loads(entries[SIGNATURE].data))
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    return forge(to, [*(each for name, each in entries.items() if name != SIGNATURE), Entry(SIGNATURE, data)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda said: said | {"digest": "0" * 64}, "was not made with that key"),
        (lambda said: said | {"signature": base64.b64encode(bytes(64)).decode()}, "was not made with that key"),
        (lambda said: said | {"signature": ""}, "was not made with that key"),
        (lambda said: said | {"signature": "\u00e4"}, "was not made with that key"),
        (lambda said: said | {"signature": said["signature"] + "!"}, "was not made with that key"),
        (lambda said: said | {"algorithm": "none"}, "ed25519 over a SHA-256 expected, was 'none'"),
        (lambda said: said | {"digest": "x"}, "ed25519 over a SHA-256 expected"),
        (lambda said: said | {"digest": None}, '"digest" as a text expected, was NoneType'),
        (lambda said: said | {"signature": 7}, '"signature" as a text expected, was int'),
        (lambda said: said | {"key_id": ["x"]}, '"key_id" as a text expected, was list'),
        (lambda said: {}, '"algorithm" as a text expected'),
        (lambda said: [said], "a JSON object expected, was list"),
        (lambda said: b"", "JSON expected"),
        (lambda said: b"\xff\xfe", "JSON expected"),
        (lambda said: b"[" * 100_000, "JSON expected"),
        (lambda said: b'{"digest": "1", "digest": "2"}', "every key once expected"),
    ],
)
def test_a_signature_that_is_none_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, change: Callable[[dict], object], reason: str
) -> None:
    archive = resigned(signed(tmp_path / "x.mar", pair[0]), tmp_path / "tick.mar", change)

    with pytest.raises(Untrusted, match=reason):
        verify_archive(archive, pair[1])


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (b"", "JSON expected"),
        (b"[]", "a JSON object expected, was list"),
        (b'{"model": 1}', '"model" expected, was int'),
        (b'{"model": {"modelVersion": "1"}}', "a modelName of letters, digits"),
        (b'{"model": {"modelName": "tick", "modelVersion": 1}}', "a modelVersion of letters, digits"),
        (b'{"model": {"modelName": "../tick", "modelVersion": "1"}}', "a modelName of letters, digits"),
        (b'{"model": {"modelName": "tick", "modelVersion": "1/../../x"}}', "a modelVersion of letters, digits"),
        (b'{"model": {"modelName": "tick\\n", "modelVersion": "1"}}', "a modelName of letters, digits"),
        (b'{"model": {"modelName": "tick", "modelName": "news", "modelVersion": "1"}}', "every key once expected"),
        (b'{"model": {"modelName": "tick", "modelname": "news", "modelVersion": "1"}}', "every key once expected"),
        (b'{"createdOn": {"x": 1}, "model": {"modelName": "tick", "modelVersion": "1"}}', "a date as createdOn"),
        (b'{"createdOn": "a\\nb", "model": {"modelName": "tick", "modelVersion": "1"}}', "a date as createdOn"),
        (b'{"x": NaN, "model": {"modelName": "tick", "modelVersion": "1"}}', "finite numbers expected, was NaN"),
        (b'{"x": 1e999, "model": {"modelName": "tick", "modelVersion": "1"}}', "JSON expected"),
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
    ("data", "reason"), [(None, "was no file"), (b"", "was 0 bytes"), (b"x" * 100, "no such file")]
)
def test_what_is_no_archive_is_refused(
    pair: tuple[Path, Path], tmp_path: Path, data: bytes | None, reason: str
) -> None:
    archive = tmp_path / "tick.mar"
    if data is not None:
        archive.write_bytes(data)

    with pytest.raises(Untrusted, match=rf"tick\.mar: a model archive expected.*{reason}"):
        verify_archive(archive, pair[1])


def test_a_zip_file_without_a_manifest_is_no_archive(pair: tuple[Path, Path], tmp_path: Path) -> None:
    archive = forge(tmp_path / "x.zip", [Entry(*each) for each in HONEST.items()])

    with pytest.raises(Untrusted, match=r"was a zip file without MAR-INF/MANIFEST\.json"):
        verify_archive(archive, pair[1])


# --- real archives


def test_a_signed_archive_answers_as_before(
    pair: tuple[Path, Path], tick_archive: Path, tmp_path: Path, rows: np.ndarray
) -> None:
    archive = Path(shutil.copy(tick_archive, tmp_path))

    made = sign_archive(archive, pair[0])

    with connect(f"mar:{archive}", "tick") as after, connect(f"mar:{tick_archive}", "tick") as before:
        assert after.metadata.archive_digest == before.metadata.archive_digest == made.digest
        assert after.predict(rows).outputs["buy"].tobytes() == before.predict(rows).outputs["buy"].tobytes()


def test_an_archive_is_built_signed(pair: tuple[Path, Path], tick_run: Path, tmp_path: Path) -> None:
    built = build_archive("tick", tick_run, "1.0", tmp_path, sign_key=pair[0])

    verified = verify_archive(built.path, pair[1])

    assert (verified.digest, verified.signer) == (built.digest, "alice")
    assert built.key_id in read_trust(pair[1]).keys
    assert [path.name for path in tmp_path.iterdir()] == ["tick.mar"]


def test_no_archive_lies_there_unsigned_when_a_key_was_asked_for(tick_run: Path, tmp_path: Path) -> None:
    (tmp_path / "tick.mar").write_bytes(b"the one before")

    with pytest.raises(BadKey, match=r"missing\.key: a private key expected: No such file"):
        build_archive("tick", tick_run, "1.0", tmp_path, sign_key=tmp_path / "missing.key")

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("tick.mar", b"the one before")]


def test_the_manifest_of_the_small_archives_is_a_real_one(tick_archive: Path) -> None:
    with ZipFile(tick_archive) as members:
        said = json.loads(members.read(MANIFEST))

    assert MANIFEST_SAYS.keys() <= said.keys()
    assert MANIFEST_SAYS["model"].keys() <= said["model"].keys()  # type: ignore[attr-defined]
