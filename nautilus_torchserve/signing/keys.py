"""Ed25519 keys: whose signature an archive may carry.

The private half stays with whoever signs, the public half lies in the repository (``trusted_keys/NAME.pub``),
where a review decides about it.
"""

import base64
import binascii
import hashlib
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
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

from nautilus_torchserve.user_error import UserError

PASSPHRASE = "ARCHIVE_KEY_PASSPHRASE"
"""Environment variable with the private key's passphrase; unset or empty: it has none."""
_FROM_ENVIRONMENT = "env:"
_MAX_TEXT_BYTES = 1 << 20
_BEGIN, _END = b"-----BEGIN ", b"-----END "


class BadKey(UserError, ValueError):
    """A key that cannot be made, read or used; says why, and nothing of the key."""


@dataclass(frozen=True)
class TrustedKey:
    """A public key."""

    name: str
    """NAME of ``NAME.pub``."""
    public: Ed25519PublicKey
    expires: datetime | None
    """From then on it vouches for nothing new; None: never."""

    def has_expired(self) -> bool:
        """Return whether the key has expired, by this machine's clock."""
        return self.expires is not None and datetime.now(UTC) >= self.expires


def make_key(private: Path, public: Path, expires: datetime | None = None) -> str:
    """Make a pair of keys as PEM files and return its id; the private one is encrypted where `PASSPHRASE` is set.

    Parameters
    ----------
    private : Path
        For its owner's eyes only (mode 0600), outside of any git work tree. Never overwritten.
    public : Path
        ``trusted_keys/NAME.pub``. Never overwritten.
    expires : datetime, optional
        From then on the key signs nothing and vouches for nothing new; both files say so in a line before the key.

    Raises
    ------
    BadKey
    """
    _check_outside_git(private)
    for path in (private, public):
        if path.exists():
            raise BadKey(f"{path}: expected a new file, got one that is there already; keys are never overwritten")
    key = Ed25519PrivateKey.generate()
    passphrase = _passphrase()
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    public.parent.mkdir(parents=True, exist_ok=True)
    header = b"" if expires is None else f"expires: {expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}\n".encode()
    _create(private, header + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
    try:
        content = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _create(public, header + content, 0o644)
    except BaseException:  # half a pair is of no use
        private.unlink()
        raise
    return key_id(key.public_key())


def load_private_key(where: str | Path) -> Ed25519PrivateKey:
    """Load a private key from its file, or from an environment variable: ``env:ARCHIVE_SIGN_KEY``.

    The variable holds the PEM text, or the Base64 of it where secrets must be of one line.

    Raises
    ------
    BadKey
        Missing, readable for others than its owner, encrypted with another passphrase, expired, or no Ed25519 key.
    """
    data = _from_environment(str(where)) if str(where).startswith(_FROM_ENVIRONMENT) else _from_file(Path(where))
    pem, expires = _split(str(where), data)
    if expires is not None and datetime.now(UTC) >= expires:
        raise BadKey(
            f"{where}: expected a key that has not expired, got one that expired {expires:%Y-%m-%d}: make a "
            "new one (nautilus-torchserve keys)"
        )
    passphrase = _passphrase()
    try:
        key = load_pem_private_key(pem, passphrase)
    except TypeError:  # a passphrase where none is needed, or none where one is
        got = "one without passphrase, but " if passphrase else "an encrypted one, and no "
        raise BadKey(f"{where}: expected a private key that fits {PASSPHRASE}, got {got}{PASSPHRASE} is set") from None
    except (ValueError, UnsupportedAlgorithm):
        reason = f", or the passphrase in {PASSPHRASE} is another" if passphrase else ""
        raise BadKey(f"{where}: expected an Ed25519 private key in PEM, got an unreadable file{reason}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKey(f"{where}: expected an Ed25519 private key, got a {type(key).__name__}")
    return key


def read_public_key(path: Path) -> TrustedKey:
    """Read ``NAME.pub``; raises `BadKey` where that holds no Ed25519 public key."""
    pem, expires = _split(str(path), read_text(path).encode())
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey(f"{path}: expected an Ed25519 public key in PEM, got something else") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadKey(f"{path}: expected an Ed25519 public key, got a {type(key).__name__}")
    return TrustedKey(path.stem, key, expires)


def read_text(path: Path) -> str:
    """Read a small text file; raises `BadKey` where there is something else."""
    try:
        if not path.is_file():
            raise BadKey(f"{path}: expected a file, got none")
        with path.open("rb") as file:
            data = file.read(_MAX_TEXT_BYTES + 1)
        if len(data) > _MAX_TEXT_BYTES:
            raise BadKey(f"{path}: expected at most {_MAX_TEXT_BYTES:,} bytes, got more")
        return data.decode()
    except UnicodeDecodeError:
        raise BadKey(f"{path}: expected UTF-8 text, got other bytes") from None
    except OSError as error:
        raise BadKey(f"{path}: expected a file that can be read: {error.strerror}") from None


def parse_expiry(text: str) -> datetime:
    """Return the moment that an ISO 8601 date, or date and time, names; UTC where it says no zone.

    Raises
    ------
    ValueError
    """
    moment = datetime.fromisoformat(text.strip())
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def key_id(key: Ed25519PublicKey) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def _split(where: str, data: bytes) -> tuple[bytes, datetime | None]:
    """Return the PEM text of the only key in a file, and when it expires by a line before it."""
    before, begin, pem = data.partition(_BEGIN)
    after = pem.partition(_END)[2].partition(b"\n")[2]
    if _BEGIN in pem or after.strip():
        raise BadKey(f"{where}: expected one key and nothing after it, got more")
    expires = None
    for line in before.decode(errors="replace").splitlines() if begin else ():
        name, _, value = (part.strip() for part in line.partition(":"))
        if not line.strip() or line.startswith("#"):
            continue
        if name != "expires" or expires is not None:
            raise BadKey(f"{where}: expected comments and one line 'expires: DATE' before the key, got another line")
        try:
            expires = parse_expiry(value)
        except (ValueError, OverflowError):
            raise BadKey(f"{where}: expected expires as an ISO 8601 date, got {value!r:.40}") from None
    return begin + pem, expires


def _passphrase() -> bytes | None:
    return os.environ.get(PASSPHRASE, "").encode() or None


def _from_environment(where: str) -> bytes:
    text = os.environ.get(where.removeprefix(_FROM_ENVIRONMENT), "").strip()
    if not text:
        raise BadKey(f"{where}: expected a private key in PEM in this variable, got an empty one, or none")
    if text.startswith("-----BEGIN"):
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadKey(f"{where}: expected a private key in PEM, or the Base64 of that, got neither") from None


def _from_file(path: Path) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise BadKey(f"{path}: expected a file that only its owner may read, got mode {mode:04o} (chmod 600)")
        return path.read_bytes()
    except OSError as error:
        raise BadKey(f"{path}: expected a private key: {error.strerror}") from None


def _check_outside_git(private: Path) -> None:
    folder = private.parent.resolve()
    for directory in (folder, *folder.parents):
        if (directory / ".git").exists():
            raise BadKey(
                f"{private}: expected a place outside of git for the private key, got the work tree {directory}"
            )


def _create(path: Path, data: bytes, mode: int) -> None:
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise BadKey(f"{path}: expected a new file: {error.strerror}") from None
    with os.fdopen(opened, "wb") as file:
        os.fchmod(opened, mode)  # whatever the umask
        file.write(data)
        file.flush()
        os.fsync(opened)
