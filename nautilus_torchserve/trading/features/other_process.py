"""A computation in another process, whose hashes, time zone and clock differ from this one's."""

import datetime
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from nautilus_torchserve.trading.features.instrument_features import FeaturesFailed
from nautilus_torchserve.trading.features.outside_reads import recorded_reads
from nautilus_torchserve.user_error import UserError

_Result = TypeVar("_Result")
_CLOCK_AHEAD = "NAUTILUS_TORCHSERVE_CLOCK_AHEAD_S"
CHANGES: Mapping[str, tuple[str, str]] = {
    "the order of a set": ("PYTHONHASHSEED", "20477"),
    "the time zone": ("TZ", "Pacific/Marquesas"),
    "the clock": (_CLOCK_AHEAD, str(100 * 86_400 + 7 * 3_600 + 11)),
}
"""What values may depend on -> environment variable and value that change it."""


def run_elsewhere(
    changed: Iterable[str], function: Callable[..., _Result], *arguments: Any
) -> tuple[_Result, list[str]]:
    """Call a function of the library in a new process.

    Parameters
    ----------
    changed : iterable of str
        Keys of `CHANGES`.

    Returns
    -------
    result, list of str
        What it returns, and what it read outside, see `recorded_reads`.

    Raises
    ------
    FeaturesFailed
        It raised a `UserError` there, or the process died.
    """
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
    }
    environment.update(CHANGES[name] for name in changed)
    with tempfile.TemporaryDirectory(prefix="leak-") as folder:
        path = Path(folder) / "call"
        path.write_bytes(pickle.dumps((function, arguments), protocol=pickle.HIGHEST_PROTOCOL))
        command = [sys.executable, "-c", f"import {__name__} as other; other.answer({str(path)!r})"]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise FeaturesFailed(f"expected the same values from another process, which failed: {last}")
        result, reads = pickle.loads(path.read_bytes())
    if isinstance(result, UserError):
        raise FeaturesFailed(f"expected the same values from another process, which failed: {result}")
    return result, reads


def answer(path: str) -> None:
    """Call what the file at ``path`` holds, and replace it by the result."""
    file = Path(path)
    function, arguments = pickle.loads(file.read_bytes())
    if _CLOCK_AHEAD in os.environ:
        _set_clocks_ahead(datetime.timedelta(seconds=int(os.environ[_CLOCK_AHEAD])))
    with recorded_reads() as reads:
        try:
            result = function(*arguments)
        except UserError as error:
            result = UserError(str(error))
    file.write_bytes(pickle.dumps((result, list(reads)), protocol=pickle.HIGHEST_PROTOCOL))


def _set_clocks_ahead(ahead: datetime.timedelta) -> None:
    """Replace the clocks of `time`, `datetime` and pandas by ones that are ahead, for modules imported from now on."""
    now_ns, local, utc = time.time_ns, time.localtime, time.gmtime
    ahead_ns = int(ahead.total_seconds()) * 10**9

    def seconds_now() -> float:
        return (now_ns() + ahead_ns) / 1e9

    class AnyInstance(type):  # what existed before is an instance, too
        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, cls.__mro__[1])

    class Datetime(datetime.datetime, metaclass=AnyInstance):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return super().now(tz) + ahead

        @classmethod
        def utcnow(cls) -> Any:
            return super().utcnow() + ahead

    pandas_now = pd.Timestamp.now
    replacements: Mapping[Any, Mapping[str, Any]] = {
        time: {
            "time": seconds_now,
            "time_ns": lambda: now_ns() + ahead_ns,
            "localtime": lambda seconds=None: local(seconds_now() if seconds is None else seconds),
            "gmtime": lambda seconds=None: utc(seconds_now() if seconds is None else seconds),
        },
        datetime: {"datetime": Datetime},  # `today` goes by `time.time`
        pd.Timestamp: {"now": staticmethod(lambda tz=None: pandas_now(tz) + ahead)},
    }
    for owner, clocks in replacements.items():
        for name, clock in clocks.items():
            setattr(owner, name, clock)
