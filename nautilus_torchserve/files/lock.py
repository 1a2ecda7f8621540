"""Locks on files, which the kernel releases when the process ends, however it does."""

import fcntl
from typing import IO, Any


def try_lock(file: int | IO[Any], shared: bool = False) -> bool:
    """Lock an open file or folder; return False where another process holds it.

    Parameters
    ----------
    shared : bool
        Whether others may hold it so as well.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
