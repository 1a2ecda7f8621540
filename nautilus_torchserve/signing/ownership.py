"""Files and folders that only this user and root can change."""

import grp
import os
import pwd
import stat
from pathlib import Path

_MAX_LINKS = 40
"""Links followed in one path, as in the kernel."""


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
