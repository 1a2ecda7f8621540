"""The processes of a TorchServe: its Java, the launcher that starts it, its workers, known by the home they serve from.

A process id alone says nothing: the kernel gives it to another process later. So a server is known by its command line,
which names the configuration in its home, and by when it started.
"""

import time
from pathlib import Path

import psutil

from nautilus_torchserve.user_error import UserError

CONFIG = "config.properties"
"""In the home: what the server was really started from, named on its command line."""
_JAVA, _LAUNCHER, _WORKER = "org.pytorch.serve.ModelServer", "ts.model_server", "model_service_worker.py"
_END_WITHIN_S = 10.0
_CLOCK_ERROR_S = 2.0
"""Seconds by which two readings of one process's start may differ."""


class CannotEnd(UserError):
    """A process that this user may not end, or that does not end."""


def is_server(pid: int, home: Path, started_s: float | None = None) -> bool:
    """Return whether this process is the Java process of the server in a home, and lives.

    Parameters
    ----------
    started_s : float, optional
        When it started, as `start_time_s` had it.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or not _is_java(process.cmdline(), home):
            return False
        return started_s is None or abs(_start_time_s(process) - started_s) <= _CLOCK_ERROR_S
    except (psutil.Error, OverflowError):
        return False


def start_time_s(pid: int) -> float | None:
    """Return when a process started, seconds after the machine did; None where there is none.

    Unlike the time of day this does not move when the machine's clock is set.
    """
    try:
        return _start_time_s(psutil.Process(pid))
    except psutil.Error:
        return None


def find_java(home: Path) -> int | None:
    """Return the id of a Java process that serves from a home, whatever is written there; None where there is none."""
    return next((process.pid for process in _of_home(home) if _is_java(_command(process), home)), None)


def is_in_use(home: Path) -> bool:
    """Return whether a server, the launcher of one or a worker runs in a home."""
    return bool(_of_home(home))


def end_processes(home: Path) -> int:
    """Kill the server of a home, its launcher, its workers and all that they started; return how many there were.

    By SIGKILL: on SIGTERM TorchServe resets the requests that it has, and starts workers anew while it ends.

    Raises
    ------
    CannotEnd
    """
    deadline, ended = time.monotonic() + _END_WITHIN_S, 0
    while processes := _of_home(home):
        if time.monotonic() > deadline:
            raise CannotEnd(
                f"{home}: expected process {processes[0].pid} to end within {_END_WITHIN_S:g} s, it still runs"
            )
        try:
            ended += _kill(processes)
        except psutil.AccessDenied as error:
            raise CannotEnd(
                f"{home}: expected to be allowed to end process {error.pid}, which serves from there, got "
                "access denied: run this command as the user that started it"
            ) from None
    return ended


def _kill(processes: list[psutil.Process]) -> int:
    """Kill processes with their descendants and wait until they are gone."""
    family: dict[int, psutil.Process] = {}
    for process in processes:
        try:
            process.suspend()  # so that it starts no worker that we would not see
            family |= {member.pid: member for member in (process, *process.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    for process in family.values():
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(list(family.values()), timeout=5)
    return len(family)


def _of_home(home: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _serves(_command(process), home)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return [] if process.status() == psutil.STATUS_ZOMBIE else process.cmdline()
    except psutil.Error:
        return []


def _serves(command: list[str], home: Path) -> bool:
    if _is_java(command, home) or (_LAUNCHER in command and str(home / CONFIG) in command):
        return True
    return any(word.endswith(_WORKER) for word in command) and any(
        word.startswith(f"{home / 'tmp'}/.ts.sock.") for word in command
    )


def _is_java(command: list[str], home: Path) -> bool:
    return _JAVA in command and str(home / CONFIG) in command


def _start_time_s(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()
