"""Keys: private, never overwritten, read from a file or the environment, refused where they are none."""

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from signed_archives import keys, mode, packed

from nautilus_torchserve.signing.archive_signature import sign_archive, verify_archive
from nautilus_torchserve.signing.keys import PASSPHRASE, BadKey, load_private_key, make_key
from nautilus_torchserve.signing.trust import read_trust


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

    with pytest.raises(BadKey, match=r"alice\.key: expected a new file, got one that is there already"):
        make_key(private, trusted / "other.pub")
    with pytest.raises(BadKey, match=r"alice\.pub: expected a new file, got one that is there already"):
        make_key(tmp_path / "other.key", trusted / "alice.pub")

    assert before == (private.read_bytes(), (trusted / "alice.pub").read_bytes())
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["alice.key", "alice.pub"]


def test_half_a_pair_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / "alice.pub").symlink_to(tmp_path / "nowhere")  # does not exist, and cannot be created anew either

    with pytest.raises(BadKey, match=r"alice\.pub: expected a new file: File exists"):
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

    with pytest.raises(BadKey, match=r"only its owner may read, got mode 0640 \(chmod 600\)"):
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
    with pytest.raises(BadKey, match=f"got an encrypted one, and no {PASSPHRASE} is set"):
        sign_archive(archive, private)
    assert b"ENCRYPTED" in private.read_bytes()


def test_a_passphrase_for_a_key_without_is_a_mistake(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "correct horse")

    with pytest.raises(BadKey, match="got one without passphrase"):
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
        (None, "got an empty one, or none"),
        ("  \n", "got an empty one, or none"),
        ("secret!", "or the Base64 of that, got neither"),
        ("c2VjcmV0", "expected an Ed25519 private key in PEM, got an unreadable file"),
        ("-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n", "got an unreadable file"),
    ],
)
def test_an_invalid_key_is_refused_without_repeating_it(
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

    with pytest.raises(BadKey, match=r"a\.key: expected an Ed25519 private key, got a ECPrivateKey"):
        load_private_key(tmp_path / "a.key")
    with pytest.raises(BadKey, match=r"a\.pub: expected an Ed25519 public key, got a ECPublicKey"):
        read_trust(tmp_path)
