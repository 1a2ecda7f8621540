"""State of the server in a home (``server.json``), and the lock that keeps two commands from changing one home."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import msgspec

from nautilus_torchserve.files.lock import try_lock
from nautilus_torchserve.files.state_file import read_state, write_state
from nautilus_torchserve.serving.server.config import check_config
from nautilus_torchserve.user_error import UserError

STATE = "server.json"
Pid = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class ServerState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server that was started, or whose start was begun."""

    properties: dict[str, str]
    """Configuration that it was started with."""
    pid: Pid | None = None
    """Process id of Java; None while it is being started, and where that start was killed."""
    started_s: float | None = None
    """Start of that process (seconds after the machine's)."""
    starter: Pid | None = None
    """Process id of the command that starts it."""

    def __post_init__(self) -> None:
        if "model_store" not in self.properties:
            raise ValueError("properties without model_store")
        check_config(self.properties)


class HomeInUse(UserError):
    """Another command changes what runs in this home now."""


def read_server_state(home: Path) -> ServerState:
    """Read the state; raises `DamagedState`, and FileNotFoundError where nothing was started in this home."""
    return read_state(
        home / STATE,
        ServerState,
        "the state of a server that nautilus-torchserve serve started",
        "`nautilus-torchserve serve stop` ends what runs there and removes this file",
    )


def write_server_state(home: Path, state: ServerState) -> None:
    """Write the state, whole or not at all."""
    write_state(home / STATE, state, 0o600)


@contextmanager
def locked_home(home: Path) -> Iterator[None]:
    """Hold a home against other commands that start or stop its server; the kernel gives it back with the process.

    A home that was not there is made, and removed again where nothing came to lie in it.

    Raises
    ------
    HomeInUse
    OSError
        It cannot be made or locked.
    """
    made = not home.exists()
    home.mkdir(parents=True, exist_ok=True)
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not try_lock(folder):
            raise HomeInUse(
                f"{home}: expected no other start, restart or stop, got one {_holder(home)}; it "
                "leaves nothing behind when it is ended with SIGTERM"
            )
        if not home.exists() or home.stat().st_ino != os.fstat(folder).st_ino:
            raise HomeInUse(f"{home}: expected the folder to stay, another start removed it: try again")
        yield
    finally:
        if made:
            with suppress(OSError):
                home.rmdir()
        os.close(folder)


def _holder(home: Path) -> str:
    try:
        starter = read_server_state(home).starter
    except (UserError, OSError):
        starter = None
    return "that checks what it needs" if starter is None else f"by process {starter}"
