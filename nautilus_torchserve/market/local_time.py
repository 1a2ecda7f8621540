"""Times on the clocks of a place to Unix time and back, with daylight saving time handled exactly."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DAY_NS = 86_400 * 10**9


def to_utc(
    local: NDArray[np.datetime64], zone: str, distinct: bool
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Unix ns of local times, those of a repeated hour distinguished by their order.

    When clocks go back an hour is repeated. Rows that run through it twice, one after the other, say which is which:
    where the local time goes back the second pass begins. Rows in such an hour that do not are ambiguous, but for a
    pair of ``distinct`` rows, as hourly bars have them.

    Parameters
    ----------
    local : datetime64[ns] [n]
        What the clocks show.
    zone : str
        IANA name.
    distinct : bool
        Whether no two rows are of one time.

    Returns
    -------
    utc_ns : int64 [n]
        Of no meaning in rows of the other two.
    missing : bool [n]
        Times that clocks skipped when they went forward.
    ambiguous : bool [n]
        Times that occurred twice, and whose order does not say which.
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
    """Unix ns of midnights: the first instant of a day, or (``end``) the last at which the day before may have ended.

    Where clocks skip midnight the day begins when they go on; where midnight occurs twice, a day begins with the first
    and has certainly ended with the second.
    """
    index = pd.DatetimeIndex(local)
    ambiguous = np.full(len(local), not end)
    return index.tz_localize(zone, ambiguous=ambiguous, nonexistent="shift_forward").as_unit("ns").asi8


def day_starts(local: NDArray[np.datetime64], utc_ns: NDArray[np.int64], zone: str) -> NDArray[np.datetime64]:
    """Local times, those at which a day began without a midnight set to the midnight that was skipped."""
    midnight = local.astype("datetime64[D]").astype("datetime64[ns]")
    return np.where(day_bounds(midnight, zone, end=False) == utc_ns, midnight, local)


def offsets_ns(utc_ns: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """What the clocks of a zone are ahead of UTC at Unix times [n]."""
    index = pd.DatetimeIndex(utc_ns.astype("datetime64[ns]"), tz="UTC")
    return index.tz_convert(zone).tz_localize(None).as_unit("ns").asi8 - utc_ns


def _passes(local: NDArray[np.datetime64], zone: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the second time at which clocks show these times, Unix ns; pandas' NaT where they never do."""
    index = pd.DatetimeIndex(local)
    first, second = (
        index.tz_localize(zone, ambiguous=np.full(len(local), is_first), nonexistent="NaT").as_unit("ns").asi8
        for is_first in (True, False)
    )
    return first, second
