"""The order in which rows of trades and quotes are used, and rows that stand there twice."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nautilus_torchserve.market.trades.trades import PlacedRows, refuse_where


@dataclass(frozen=True, eq=False)
class RowOrder:
    """Rows of a file in order of time."""

    rows: NDArray[np.int64]
    """Positions in the file [n], in order of event."""
    ts_init: NDArray[np.int64]
    """When each of them was known, Unix ns [n], non-decreasing, not before its event."""
    notes: tuple[str, ...]
    """What was changed, a sentence each."""


def order_rows(
    source: str, ts_event: NDArray[np.int64], ts_init: NDArray[np.int64], ids: NDArray[np.str_] | None = None
) -> RowOrder:
    """Order rows by event; those of one time by their id where they are disordered and have numbers, else as they are.

    A feature at an event uses all earlier ones, so that it is not known before they have all been received: a receipt
    before that of an earlier event is raised to it. One before its own event, which a clock that runs behind the
    venue's writes, is raised to the event.

    Parameters
    ----------
    source : str
        Name of the data, for the notes.
    ts_event, ts_init : int64 [n]
        When the venue stamped each row, and when it was received, Unix ns.
    ids : str [n], optional
        The venue's identifiers.
    """
    notes = []
    rows = np.arange(len(ts_event))
    if (np.diff(ts_event) < 0).any():
        numbers = rows if ids is None else pd.to_numeric(pd.Series(ids), errors="coerce").to_numpy()
        rows = np.lexsort((numbers if numbers.dtype == np.int64 else rows, ts_event))
        moved = int((rows != np.arange(len(rows))).sum())
        notes.append(f"{source}: {moved:,} of {len(rows):,} rows were not in order of time and were sorted.")
    event, received = ts_event[rows], ts_init[rows]
    early_ns = event - received
    skewed = int((early_ns > 0).sum())
    if skewed:
        notes.append(
            f"{source}: {skewed:,} of {len(rows):,} rows were received before the venue's time, by up to "
            f"{early_ns.max() / 1e6:,.3f} ms (clocks differ); they count as received at the venue's time."
        )
    known = np.maximum.accumulate(np.maximum(event, received))
    late = int((known > np.maximum(event, received)).sum())
    if late:
        notes.append(
            f"{source}: {late:,} of {len(rows):,} rows were received before an earlier event; they count as received "
            "with it."
        )
    return RowOrder(rows, known, tuple(notes))


def repeated_rows(
    data: PlacedRows, keys: NDArray, values: pd.DataFrame, key: str
) -> tuple[NDArray[np.bool_], str | None]:
    """Return which rows repeat an earlier one of the same key [n], and a note on them.

    Parameters
    ----------
    data : PlacedRows
        The rows' source and places, for messages.
    keys : [n]
        What a row should have alone: its trade id, or the time of a bar.
    values : DataFrame [n, columns]
        What rows of one key must agree in.
    key : str
        Name of the key, for messages.

    Raises
    ------
    BadData
        Two rows of one key have different values.
    """
    groups = pd.Series(pd.factorize(keys)[0])
    repeated = groups.duplicated().to_numpy()
    if not repeated.any():
        return repeated, None
    first = groups.drop_duplicates()
    firsts = np.empty(len(first), dtype=np.int64)
    firsts[first.to_numpy()] = first.index.to_numpy()
    original = firsts[groups.to_numpy()]
    differs = (values.to_numpy() != values.to_numpy()[original]).any(axis=1)

    def described(row: int) -> str:
        cells = ", ".join(f"{name} {value}" for name, value in values.iloc[row].items())
        return f"{key} {keys[row]} again with other values than {data.place(int(original[row]))} ({cells})"

    rows = np.arange(len(keys))
    refuse_where(data, differs, f"one row for a {key} (remove the wrong one)", rows, described)
    return repeated, f"{data.source}: {repeated.sum():,} of {len(keys):,} rows repeat an earlier one and were left out."
