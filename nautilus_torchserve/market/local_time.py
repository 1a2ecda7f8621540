"""Conversion of local times to Unix time and back, with exact daylight saving time."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DAY_NS = 86_400 * 10**9


def to_utc(
    local: NDArray[np.datetime64], zone: str, distinct: bool
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Convert local times to Unix ns, those of a repeated hour distinguished by their order.

    When clocks go back an hour is repeated. Rows that run through it twice, one after the other, resolve it:
    where the local time goes back the second pass begins. Rows in such an hour that do not are ambiguous, but for a
    pair of ``distinct`` rows, as hourly bars have them.

    Parameters
    ----------
    local : datetime64[ns] [n]
        Local times.
    zone : str
        IANA name.
    distinct : bool
        Whether no two rows are of one time.

    Returns
    -------
    utc_ns : int64 [n]
        Undefined in rows of the other two.
    missing : bool [n]
        Times that clocks skipped when they went forward.
    ambiguous : bool [n]
        Times that occurred twice, and that their order does not resolve.
    """
    first, second = _passes(local, zone)
    missing = first == pd.NaT.value
    repeated = (first != second) & ~missing
    utc_ns, ambiguous = first.copy(), np.zeros(len(local), dtype=bool)
    edges = np.flatnonzero(np.diff(repeated.astype(np.int8), prepend=0, append=0))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        is_pair = distinct and stop - start == 2 and local[start] == local[start + 1]
        back = np.flatnonzero((local[start + 1 : stop] < local[start : stop - 1]) | is_pair) + start + 1
        if len(back) == 1:
            utc_ns[back[0] : stop] = second[back[0] : stop]
        else:
            ambiguous[start:stop] = True
    return utc_ns, missing, ambiguous


def day_bounds(local: NDArray[np.datetime64], zone: str, end: bool) -> NDArray[np.int64]:
    """Convert midnights to Unix ns: the first instant of a day, or (``end``) the last possible end of the day before.

    Where clocks skip midnight the day begins when they go on; where midnight occurs twice, a day begins with the first
    and has certainly ended with the second.
    """
    index = pd.DatetimeIndex(local)
    ambiguous = np.full(len(local), not end)
    return index.tz_localize(zone, ambiguous=ambiguous, nonexistent="shift_forward").as_unit("ns").asi8


def day_starts(local: NDArray[np.datetime64], utc_ns: NDArray[np.int64], zone: str) -> NDArray[np.datetime64]:
    """Return local times, those at which a day began without a midnight set to the midnight that was skipped."""
    midnight = local.astype("datetime64[D]").astype("datetime64[ns]")
    return np.where(day_bounds(midnight, zone, end=False) == utc_ns, midnight, local)


def offsets_ns(utc_ns: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """Return the offsets of a zone from UTC at Unix times [n]."""
    index = pd.DatetimeIndex(utc_ns.astype("datetime64[ns]"), tz="UTC")
    return index.tz_convert(zone).tz_localize(None).as_unit("ns").asi8 - utc_ns


def _passes(local: NDArray[np.datetime64], zone: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the second occurrence of local times, Unix ns; pandas' NaT for skipped times."""
    index = pd.DatetimeIndex(local)
    first, second = (
        index.tz_localize(zone, ambiguous=np.full(len(local), is_first), nonexistent="NaT").as_unit("ns").asi8
        for is_first in (True, False)
    )
    return first, second
