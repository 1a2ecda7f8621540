"""Refusing windows that are no bars of one instrument in order of time."""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.features.bar import CLOSE, HIGH, LEAST_VOLUME, LOW, OHLCV, OPEN, VOLUME
from nautilus_torchserve.wire.body import Request
from nautilus_torchserve.wire.errors import BadWindow

LARGEST_JUMP = 4.0
"""Factor between two neighbouring closes beyond which they are taken for two instruments, or a split."""


def allows_jumps(description: Mapping[str, Any]) -> bool:
    """Whether a model was fitted on data whose jumps were let through, so that it answers windows with such."""
    training = description.get("training", {})
    return any(training.get(name, {}).get("allow_jumps", False) for name in ("read", "weights_read"))


def check_windows(request: Request, allow_jumps: bool = False) -> None:
    """Raise `BadWindow`, naming the first window, step and column concerned.

    Parameters
    ----------
    request : Request
        Rows float32 [n, time, 5 or more], raw, finite; ``ts_event`` int64 [n, time] where the sender gave it.
    allow_jumps : bool
        Whether neighbouring closes may differ by more than `LARGEST_JUMP`.
    """
    rows = request.rows
    prices = rows[..., :VOLUME]
    if not prices.min() > 0:
        _refuse(~(prices > 0), "positive prices", rows)
    open_close = rows[..., [OPEN, CLOSE]]
    if (rows[..., HIGH] < open_close.max(axis=2)).any():
        _refuse(rows[..., HIGH] < open_close.max(axis=2), "a high not below open and close", rows, HIGH)
    if (rows[..., LOW] > open_close.min(axis=2)).any():
        _refuse(rows[..., LOW] > open_close.min(axis=2), "a low not above open and close", rows, LOW)
    volume = rows[..., VOLUME]
    if volume.min() < 0:
        _refuse(volume < 0, "volume of at least 0", rows, VOLUME)
    most = volume.max(axis=1)
    if most.min() < LEAST_VOLUME:
        window = int((most < LEAST_VOLUME).argmax())
        raise BadWindow(
            f"some volume expected in window {window}, column {OHLCV[VOLUME].name}, was {most[window]:g} throughout"
        )
    close = rows[..., CLOSE]
    with np.errstate(over="ignore"):  # infinitely many times as large is too many
        ratio = close[:, 1:] / close[:, :-1]
    if not allow_jumps and ratio.size and (ratio.max() > LARGEST_JUMP or ratio.min() < 1 / LARGEST_JUMP):
        window, step = np.argwhere((ratio > LARGEST_JUMP) | (ratio < 1 / LARGEST_JUMP))[0].tolist()
        raise BadWindow(
            f"closes of one instrument expected, at most {LARGEST_JUMP:g} times their neighbours, was "
            f"{close[window, step]:g} then {close[window, step + 1]:g} in window {window}, step {step + 1}, "
            f"column {OHLCV[CLOSE].name}"
        )
    if request.ts_event is not None:
        _check_times(request.ts_event)


def _check_times(ts_event: NDArray[np.int64]) -> None:
    late = ts_event[:, 1:] <= ts_event[:, :-1]  # their difference may be beyond int64
    if late.any():
        window, step = np.argwhere(late)[0].tolist()
        raise BadWindow(
            f"ts_event increasing within a window expected, was {ts_event[window, step + 1]} after "
            f"{ts_event[window, step]} in window {window}, step {step + 1}"
        )


def _refuse(bad: NDArray[np.bool_], expected: str, rows: NDArray[np.float32], column: int | None = None) -> NoReturn:
    window, step, *at = np.argwhere(bad)[0].tolist()
    place = at[0] if column is None else column
    raise BadWindow(
        f"{expected} expected, was {rows[window, step, place]:g} in window {window}, step {step}, "
        f"column {OHLCV[place].name}"
    )
