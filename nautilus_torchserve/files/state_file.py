"""Small JSON state files: written whole or not at all, read strictly.

A state file's content is described by a `msgspec.Struct` with ``frozen=True, forbid_unknown_fields=True``, or by a
frozen dataclass where unknown keys are to be ignored. Whatever else lies in its place is a `DamagedState`.
"""

import os
import re
import stat
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from nautilus_torchserve.files.atomic_file import free_path, fresh_file, naming, settle
from nautilus_torchserve.user_error import UserError

State = TypeVar("State")
MAX_BYTES = 16 << 20
"""Size limit of a state file."""
_MAX_REASON = 200
_MISMATCH = re.compile(r"(.*) - at `(.+)`", re.DOTALL)


class DamagedState(UserError):
    """A state file that cannot be used as it is.

    Parameters
    ----------
    path : Path
    expected : str
        Description of the file: ``the rollout journal of tick``.
    got : str
        Description of the content found; only its first 200 characters are shown.
    remedy : str
        Advice to the user.
    """

    def __init__(self, path: Path, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"{path}: expected {expected}, got {got[:_MAX_REASON]}: {remedy}")
        self.path = path
        self.got = got[:_MAX_REASON]


def read_state(path: Path, kind: type[State], expected: str, remedy: str) -> State:
    """Read a state file.

    Parameters
    ----------
    kind : type
        A `msgspec.Struct` or a dataclass; no value is converted to a field's type.
    expected, remedy : str
        For the message of `DamagedState`.

    Raises
    ------
    FileNotFoundError
        There is none; the caller knows what that means.
    DamagedState
        Something else than such a file is there, or it cannot be read.
    """
    try:
        content = read_small_file(path)
        if not content.strip():
            raise ValueError("a blank file" if content else "an empty file")
        return msgspec.json.decode(content, type=kind)
    except FileNotFoundError:
        raise
    except OSError as error:
        got = error.strerror or str(error)
    except UnicodeDecodeError:
        got = "text that is not UTF-8"
    except ValueError as error:
        got = describe_mismatch(error)
    except RecursionError:
        got = "JSON that is nested too deeply"
    raise DamagedState(path, expected, got, remedy)


def write_state(path: Path, state: Any, mode: int = 0o644) -> None:
    """Write a state file in one step; it is on the disk before this returns.

    Raises
    ------
    OSError
        It could not be written; names the file. What was there before still is.
    """
    with naming(path), fresh_file(path.parent, path.name) as file:
        file.write(msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n")
        settle(file, path, mode)


def set_aside(path: Path) -> Path:
    """Rename what lies in the place of a state file to a name that nothing reads; return that name."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = free_path(path.parent, f"{path.name}.damaged-{stamp}")
    path.rename(aside)
    return aside


def read_small_file(path: Path) -> bytes:
    """Return the bytes of a regular file of at most `MAX_BYTES`; a named pipe or a device is not waited for.

    Raises
    ------
    OSError
    ValueError
        It is something else, or larger; says what.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        raise ValueError("a folder" if stat.S_ISDIR(kind) else "a device, pipe or socket")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES:,} bytes")
    return content


def describe_mismatch(error: Exception) -> str:
    """Return the message of `msgspec`, the place first: ``$.pid: Expected int, got str``."""
    text = f"{error}"
    if text == "Input data was truncated":
        return "JSON that ends early"
    if match := _MISMATCH.fullmatch(text):
        text = f"{match[2]}: {match[1]}"
    return text.replace("`", "")
