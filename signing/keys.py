"""Ed25519 keys: whose signature an archive may carry.

The private half stays with whoever signs, the public half lies in the repository (``trusted_keys/NAME.pub``),
where a review decides about it.
"""

import base64
import binascii
import hashlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from wire.user_error import UserError

PASSPHRASE = "ARCHIVE_KEY_PASSPHRASE"
"""Environment variable with the private key's passphrase; unset or empty: it has none."""
_FROM_ENVIRONMENT = "env:"


class BadKey(UserError, ValueError):
    """A key that cannot be made, read or used; says why, and nothing of the key."""


def make_key(private: Path, public: Path) -> str:
    """Make a pair of keys as PEM files and return its id; the private one is encrypted where `PASSPHRASE` is set.

    Parameters
    ----------
    private : Path
        For its owner's eyes only (mode 0600), outside of any git work tree. Never overwritten.
    public : Path
        ``trusted_keys/NAME.pub``. Never overwritten.

    Raises
    ------
    BadKey
    """
    _check_outside_git(private)
    for path in (private, public):
        if path.exists():
            raise BadKey(f"{path}: a new file expected, was there already; keys are never overwritten")
    key = Ed25519PrivateKey.generate()
    passphrase = _passphrase()
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    public.parent.mkdir(parents=True, exist_ok=True)
    _create(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
    try:
        _create(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except BaseException:  # half a pair is of no use
        private.unlink()
        raise
    return key_id(key.public_key())


def load_private_key(where: str | Path) -> Ed25519PrivateKey:
    """A private key from its file, or from an environment variable: ``env:ARCHIVE_SIGN_KEY``.

    The variable holds the PEM text, or the Base64 of it where secrets must be of one line.

    Raises
    ------
    BadKey
        Missing, readable for others than its owner, encrypted with another passphrase, or no Ed25519 key.
    """
    pem = _from_environment(str(where)) if str(where).startswith(_FROM_ENVIRONMENT) else _from_file(Path(where))
    passphrase = _passphrase()
    try:
        key = load_pem_private_key(pem, passphrase)
    except TypeError:  # a passphrase where none is needed, or none where one is
        said = "one without passphrase, but " if passphrase else "encrypted, and no "
        raise BadKey(f"{where}: a private key expected that fits {PASSPHRASE}, was {said}{PASSPHRASE} is set") from None
    except (ValueError, UnsupportedAlgorithm):
        reason = f", or the passphrase in {PASSPHRASE} is another" if passphrase else ""
        raise BadKey(f"{where}: an Ed25519 private key in PEM expected, was not readable as one{reason}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKey(f"{where}: an Ed25519 private key expected, was a {type(key).__name__}")
    return key


def trusted_keys(folder: Path) -> dict[str, tuple[str, Ed25519PublicKey]]:
    """Key id -> its owner's name and the key, of every ``NAME.pub`` in a folder.

    Raises
    ------
    BadKey
        No such folder, or one of the files holds no Ed25519 public key.
    """
    if not folder.is_dir():
        raise BadKey(f"{folder}: a folder of public keys expected, was none")
    found = {}
    for path in sorted(folder.glob("*.pub"), reverse=True):  # of two names for one key, the first in the alphabet
        try:
            key = load_pem_public_key(path.read_bytes())
        except (ValueError, UnsupportedAlgorithm):
            raise BadKey(f"{path}: an Ed25519 public key in PEM expected, was not readable as one") from None
        if not isinstance(key, Ed25519PublicKey):
            raise BadKey(f"{path}: an Ed25519 public key expected, was a {type(key).__name__}")
        found[key_id(key)] = (path.stem, key)
    return found


def key_id(key: Ed25519PublicKey) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def _passphrase() -> bytes | None:
    return os.environ.get(PASSPHRASE, "").encode() or None


def _from_environment(where: str) -> bytes:
    text = os.environ.get(where.removeprefix(_FROM_ENVIRONMENT), "").strip()
    if not text:
        raise BadKey(f"{where}: a private key in PEM expected in this variable, was empty or not set")
    if text.startswith("-----BEGIN"):
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadKey(f"{where}: a private key in PEM, or the Base64 of that, expected, was neither") from None


def _from_file(path: Path) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise BadKey(f"{path}: a file that only its owner may read expected, was of mode {mode:04o} (chmod 600)")
        return path.read_bytes()
    except OSError as error:
        raise BadKey(f"{path}: a private key expected: {error.strerror}") from None


def _check_outside_git(private: Path) -> None:
    folder = private.parent.resolve()
    for each in (folder, *folder.parents):
        if (each / ".git").exists():
            raise BadKey(f"{private}: a place outside of git for the private key expected, was in the work tree {each}")


def _create(path: Path, data: bytes, mode: int) -> None:
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise BadKey(f"{path}: a new file expected: {error.strerror}") from None
    with os.fdopen(opened, "wb") as file:
        os.fchmod(opened, mode)  # whatever the umask
        file.write(data)
        file.flush()
        os.fsync(opened)
