"""Whose signatures count: a folder of public keys, which of them are revoked, and which content is allowed.

===================  ===============================================================================================
in the folder        holds
===================  ===============================================================================================
``NAME.pub``         a public key (`signing.keys`); NAME is what a verified archive's signer is
called ``revoked``          ids of keys whose signatures never count, one a line: ``KEY_ID  # reason``
``allowed_digests``  content digests, one a line: ``DIGEST  # comment``; with this file, no others are accepted
===================  ===============================================================================================

Whoever can write here can put code on the servers, so a folder that others can write to is refused.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nautilus_torchserve.files.atomic_file import fresh_file, settle
from nautilus_torchserve.signing.keys import BadKey, TrustedKey, key_id, read_public_key, read_text
from nautilus_torchserve.signing.ownership import writable_by_others

REVOKED = "revoked"
ALLOWED = "allowed_digests"
_KEY_ID, _DIGEST = "[0-9a-f]{16}", "[0-9a-f]{64}"
_LOOKS_LIKE = re.compile("(revo|allow)", re.IGNORECASE)


@dataclass(frozen=True)
class Trust:
    """Keys that a folder trusts or revokes, and the digests that it allows."""

    folder: Path
    keys: Mapping[str, TrustedKey]
    """By key id."""
    revoked: Mapping[str, str]
    """Key id -> the reason."""
    allowed: Collection[str] | None
    """The only content digests that are accepted; None: whatever a key has signed."""

    def objection_to_key(self, signer: str, digest: str, accepted: Collection[str]) -> str | None:
        """Return why a key does not vouch for a digest; None where it does.

        Parameters
        ----------
        accepted : collection of str
            Digests that were accepted when their key had not expired: an expired key still vouches for these, and for
            what `ALLOWED` lists.
        """
        if signer in self.revoked:
            name = self.keys[signer].name if signer in self.keys else "unknown"
            reason = self.revoked[signer] or "no reason given"
            return (
                f"expected a key that is not revoked, got {name} ({signer}), revoked in {self.folder / REVOKED}: "
                f"{reason}; have the archive reviewed and signed anew (nautilus-torchserve sign)"
            )
        if signer not in self.keys:
            known = ", ".join(f"{key.name} ({each})" for each, key in sorted(self.keys.items(), key=_by_name)) or "none"
            return f"expected a signature by a key in {self.folder}, got one by {signer!r:.40}; keys there: {known}"
        key = self.keys[signer]
        if key.has_expired() and digest not in accepted and digest not in (self.allowed or ()):
            return (
                f"expected a key that has not expired, got {key.name} ({signer}), expired {key.expires:%Y-%m-%d}: "
                "have the archive signed anew (nautilus-torchserve sign), or list its digest in "
                f"{self.folder / ALLOWED}"
            )
        return None

    def objection_to_content(self, digest: str) -> str | None:
        """Return why signed content is refused all the same; None where it is not."""
        if self.allowed is not None and digest not in self.allowed:
            return f"expected one of the {len(self.allowed)} digests in {self.folder / ALLOWED}, got {digest}"
        return None


def read_trust(folder: Path) -> Trust:
    """Read a folder of public keys.

    Raises
    ------
    BadKey
        No such folder; others can write to it, to what is in it or to a folder that it is in; or one of its files does
        not read as what it is.
    """
    if not folder.is_dir():
        raise BadKey(f"{folder}: expected a folder of public keys, got none")
    _check_ownership(folder)
    for path in folder.iterdir():
        if _LOOKS_LIKE.match(path.name) and path.suffix != ".pub" and path.name not in (REVOKED, ALLOWED):
            raise BadKey(f"{path}: expected {REVOKED} or {ALLOWED} as a file's name, got {path.name!r}")
    keys = {}
    for path in sorted(folder.glob("*.pub"), reverse=True):  # of two names for one key, the first in the alphabet
        _check_ownership(path)
        key = read_public_key(path)
        keys[key_id(key.public)] = key
    revoked, allowed = (_read_list(folder / name, form) for name, form in ((REVOKED, _KEY_ID), (ALLOWED, _DIGEST)))
    return Trust(folder, keys, revoked or {}, allowed)


def revoke(folder: Path, key: str, reason: str) -> str:
    """Add a key to those whose signatures never count; return its id. May be called again.

    Parameters
    ----------
    key : str
        NAME of ``NAME.pub``, or a key id, also of a key that is not in the folder.

    Raises
    ------
    BadKey
        As `read_trust`, or there is no such key.
    """
    trust = read_trust(folder)
    ids = [key_id for key_id, known in trust.keys.items() if known.name == key]
    if not ids and re.fullmatch(_KEY_ID, key):
        ids = [key]
    if not ids:
        known = ", ".join(sorted(trusted.name for trusted in trust.keys.values())) or "none"
        raise BadKey(
            f"{key!r:.100}: expected the name of a key in {folder} or 16 hexadecimal digits of a key id, "
            f"got neither; keys there: {known}"
        )
    if ids[0] in trust.revoked:
        return ids[0]
    path = folder / REVOKED
    comment = " ".join(f"{datetime.now(UTC):%Y-%m-%d} {key} {reason}".split())
    before = path.read_text() if path.exists() else ""
    with fresh_file(folder, REVOKED) as file:
        file.write(before.encode() + b"\n" * (before[-1:] not in ("", "\n")) + f"{ids[0]}  # {comment}\n".encode())
        settle(file, path, 0o644)
    return ids[0]


def _by_name(item: tuple[str, TrustedKey]) -> str:
    return item[1].name


def _check_ownership(path: Path) -> None:
    try:
        reason = writable_by_others(path)
    except OSError as error:
        reason = f"{path}: {error.strerror}"
    if reason is not None:
        raise BadKey(reason)


def _read_list(path: Path, form: str) -> dict[str, str] | None:
    """Return entry -> its comment; None where there is no such file."""
    if not path.exists() and not path.is_symlink():
        return None
    _check_ownership(path)
    entries = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        entry, _, comment = (part.strip() for part in line.partition("#"))
        if not entry:
            continue
        if not re.fullmatch(form, entry.lower()):
            raise BadKey(
                f"{path}:{number}: expected {form[-3:-1]} hexadecimal digits, and # before a comment, "
                f"got {entry!r:.100}"
            )
        entries[entry.lower()] = comment
    return entries
