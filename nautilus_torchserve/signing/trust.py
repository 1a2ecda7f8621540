"""Trust in signatures: a folder of public keys, those of them that are revoked, and the content that is allowed.

===================  ===============================================================================================
in the folder        holds
===================  ===============================================================================================
``NAME.pub``         a public key (`signing.keys`); NAME is the signer's name in what is verified with it
``revoked``          ids of keys whose signatures never count, one a line: ``KEY_ID  # reason``
``allowed_digests``  content digests, one a line: ``DIGEST  # comment``; with this file, no others are accepted
===================  ===============================================================================================

Whoever can write here can put code on the servers, so a folder that others can write to is refused.
"""

import grp
import os
import pwd
import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nautilus_torchserve.files.atomic_file import fresh_file, settle
from nautilus_torchserve.signing.keys import BadKey, TrustedKey, key_id, read_public_key, read_text

_MAX_LINKS = 40
"""Links followed in one path, as in the kernel."""
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
            known = ", ".join(sorted(f"{key.name} ({key_id})" for key_id, key in self.keys.items())) or "none"
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


def writable_by_others(path: Path) -> str | None:
    """Return who else could change what is found under a path: of the path itself, its folders and its links.

    Write permission for a group counts unless the owner is the group's only member (a user's private group). A folder
    that anyone may write to counts unless its sticky bit keeps others' entries from being replaced, as in ``/tmp``.

    Returns
    -------
    str or None
        The entry, what was found and the remedy, in one clause; None where only this user and root can.

    Raises
    ------
    OSError
        It does not exist, or cannot be looked at.
    """
    pending = list(reversed(path.absolute().parts[1:]))  # not resolved: links count, too
    at, links = Path("/"), 0
    if reason := _reason(at, is_last=not pending):
        return reason
    while pending:
        part = pending.pop()
        if part == "..":
            at = at.parent
            continue
        entry = at / part
        if reason := _reason(entry, is_last=not pending):
            return reason
        if not entry.is_symlink():
            at = entry
            continue
        if (links := links + 1) > _MAX_LINKS:
            return f"{path}: expected a path with at most {_MAX_LINKS} links, got more"
        target = entry.readlink()
        if target.is_absolute():
            at = Path("/")
        pending += reversed([name for name in target.parts if name != "/"])
    return None


def _reason(entry: Path, is_last: bool) -> str | None:
    status = entry.lstat()
    if status.st_uid not in (0, os.geteuid()):
        return (
            f"{entry}: expected to be owned by root or {_user(os.geteuid())}, got {_user(status.st_uid)}, "
            "who could change it (chown)"
        )
    if stat.S_ISLNK(status.st_mode):  # a link has no permissions of its own
        return None
    others = bool(status.st_mode & stat.S_IWOTH)
    group = bool(status.st_mode & stat.S_IWGRP) and (  # with an access control list these bits are its mask
        _has_access_list(entry) or not _is_private_group(status.st_gid, status.st_uid)
    )
    sticky = stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX) and not is_last
    if (others or group) and not sticky:
        return (
            f"{entry}: expected to be writable for its owner only, got mode {stat.S_IMODE(status.st_mode):04o} "
            "(chmod go-w)"
        )
    return None


def _has_access_list(entry: Path) -> bool:
    """Return whether users beside the owner may have rights of their own (``setfacl``)."""
    try:
        return "system.posix_acl_access" in os.listxattr(entry, follow_symlinks=False)
    except (AttributeError, OSError):  # no such lists on this system
        return False


def _is_private_group(gid: int, uid: int) -> bool:
    """Return whether a file's owner is the only member of its group."""
    try:
        owner, members = pwd.getpwuid(uid).pw_name, set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        return False
    return members <= {owner} and all(user.pw_uid == uid for user in pwd.getpwall() if user.pw_gid == gid)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
