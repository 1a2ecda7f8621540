"""Price models: the next bar's close, its return, and how sure the model is of the return's sign."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_defs.return_network import CLOSE, OUTPUTS, PRICES, VOLUME, ReturnNetwork, predict
from nautilus_torchserve.features.bar import HIGH, LOW, MIN_VOLUME, OHLCV, OPEN
from nautilus_torchserve.features.schema import Column
from nautilus_torchserve.inference.explain.integrate import Integral, TimeLimit, integrate, select_output
from nautilus_torchserve.inference.model import RowModel
from nautilus_torchserve.inference.tiles import WINDOW_TILES
from nautilus_torchserve.wire.body import RowRequest
from nautilus_torchserve.wire.errors import BadWindow
from nautilus_torchserve.wire.output_constraints import (
    NON_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    RETURN_BPS,
    OutputConstraints,
)

MAX_JUMP = 4.0
"""Factor between two neighbouring closes beyond which they are taken for two instruments, or a split."""
DEFAULT = "return_bps"
"""The output that is explained where a request names none."""
BASELINE = (
    "a window in which nothing happened (every price at its last close, volume at its mean, indicators at their "
    "centre in the fit)"
)
WINDOWS_AT_ONCE = 8
"""Points of the path that are computed together."""
FLOOR_BPS, FLOOR_CONFIDENCE = 1e-3, 1e-4
FLOORS = {"price": FLOOR_BPS / 1e4, "return_bps": FLOOR_BPS, "sigma_bps": FLOOR_BPS, "confidence": FLOOR_CONFIDENCE}
"""Completeness error allowed: in bps, of a probability; of the price as a share of the last close."""


class PriceModel(RowModel):
    """Windows of bars to `OUTPUTS`; the network is whichever the archive holds."""

    output_names = explained = OUTPUTS
    constraints = OutputConstraints(dict(zip(OUTPUTS, (POSITIVE, RETURN_BPS, NON_NEGATIVE, PROBABILITY), strict=True)))
    explain_s, explain_alone_s = 0.5, 4.0
    max_explained, max_explained_bytes = 8, 1 << 18
    base_tiles, large_tiles = WINDOW_TILES

    def check(self, request: RowRequest) -> None:
        check_windows(request, allows_jumps(self.description))

    def forward(self, network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
        return predict(cast(ReturnNetwork, network), rows)  # (B, 4)

    def explain_row(
        self, network: nn.Module, row: NDArray[np.float32], output: str | None, limit: TimeLimit
    ) -> dict[str, Any]:
        return explain_window(network, row, self.schema.columns, output, limit)


def allows_jumps(description: Mapping[str, Any]) -> bool:
    """Return whether a model was fitted on data with jumps, so that it accepts windows with such."""
    training = description.get("training", {})
    return any(training.get(name, {}).get("allow_jumps", False) for name in ("read", "weights_read"))


def check_windows(request: RowRequest, allow_jumps: bool = False) -> None:
    """Raise `BadWindow`, naming the first window, step and column concerned.

    Parameters
    ----------
    request : Request
        Rows float32 [n, time, 5 or more], raw, finite; ``ts_event`` int64 [n, time] where the sender gave it.
    allow_jumps : bool
        Whether neighbouring closes may differ by more than `MAX_JUMP`.
    """
    rows = request.rows
    prices = rows[..., :VOLUME]
    if not prices.min() > 0:
        _raise_bad_window(~(prices > 0), "positive prices", rows)
    open_close = rows[..., [OPEN, CLOSE]]
    if (rows[..., HIGH] < open_close.max(axis=2)).any():
        _raise_bad_window(rows[..., HIGH] < open_close.max(axis=2), "a high not below open and close", rows, HIGH)
    if (rows[..., LOW] > open_close.min(axis=2)).any():
        _raise_bad_window(rows[..., LOW] > open_close.min(axis=2), "a low not above open and close", rows, LOW)
    volume = rows[..., VOLUME]
    if volume.min() < 0:
        _raise_bad_window(volume < 0, "volume of at least 0", rows, VOLUME)
    largest = volume.max(axis=1)
    if largest.min() < MIN_VOLUME:
        window = int((largest < MIN_VOLUME).argmax())
        raise BadWindow(
            f"expected some volume in window {window}, column {OHLCV[VOLUME].name}, got {largest[window]:g} throughout"
        )
    close = rows[..., CLOSE]
    with np.errstate(over="ignore"):  # infinitely many times as large is too many
        ratio = close[:, 1:] / close[:, :-1]
    if not allow_jumps and ratio.size and (ratio.max() > MAX_JUMP or ratio.min() < 1 / MAX_JUMP):
        window, step = np.argwhere((ratio > MAX_JUMP) | (ratio < 1 / MAX_JUMP))[0].tolist()
        raise BadWindow(
            f"expected closes of one instrument, at most {MAX_JUMP:g} times their neighbours, got "
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
            f"expected ts_event increasing within a window, got {ts_event[window, step + 1]} after "
            f"{ts_event[window, step]} in window {window}, step {step + 1}"
        )


def _raise_bad_window(
    bad: NDArray[np.bool_], expected: str, rows: NDArray[np.float32], column: int | None = None
) -> NoReturn:
    window, step, *at = np.argwhere(bad)[0].tolist()
    place = at[0] if column is None else column
    raise BadWindow(
        f"expected {expected}, got {rows[window, step, place]:g} in window {window}, step {step}, "
        f"column {OHLCV[place].name}"
    )


def explain_window(
    network: nn.Module, window: NDArray[np.float32], columns: Sequence[Column], output: str | None, limit: TimeLimit
) -> dict[str, Any]:
    """Attribute the difference of one output from that of a window without events to bars and columns.

    Parameters
    ----------
    network : ReturnNetwork
        In float64.
    window : float32 [time, columns]
        Raw.
    output : str or None
        One of `OUTPUTS`; None: `DEFAULT`.
    limit : TimeLimit
        See `inference.explain.integrate.integrate`.

    Returns
    -------
    dict
        Plain JSON types: ``output``, the keys of `inference.explain.integrate.Integral.to_dict`, ``baseline`` (in
        words), ``columns`` (names), ``window`` and ``attributions`` (both [time][columns], oldest first).

    Raises
    ------
    NotExplained
        There is no such output.
    """
    name = select_output(output, DEFAULT, OUTPUTS)
    column = OUTPUTS.index(name)
    floor = FLOORS[name] * (float(window[-1, CLOSE]) if name == "price" else 1.0)

    def forecast(windows: torch.Tensor) -> torch.Tensor:
        return predict(cast(ReturnNetwork, network), windows)[:, column]

    integral = integrate_window(network, window, forecast, floor, limit)
    return {"output": name, **integral.to_dict(), **window_parts(integral, window, columns)}


def integrate_window(
    network: nn.Module,
    window: NDArray[np.float32],
    forecast: Callable[[torch.Tensor], torch.Tensor],
    floor: float,
    limit: TimeLimit,
) -> Integral:
    """Integrate from `eventless` to the window; ``forecast`` is float64 [points, time, columns] -> float64 [points].

    Every point of the path is a valid window: its last close and its mean volume are those of both ends, and highs
    stay above opens and closes.
    """
    device = next(network.parameters()).device
    rows = torch.from_numpy(window.astype(np.float64)).unsqueeze(0).to(device)  # (1, T, F)
    baseline = eventless(cast(ReturnNetwork, network), rows)
    return integrate(forecast, (rows,), (baseline,), floor, limit, WINDOWS_AT_ONCE)


def eventless(network: ReturnNetwork, windows: torch.Tensor) -> torch.Tensor:
    """Return windows without events at the last closes of these, float64 [n, time, columns]."""
    steps = windows.shape[1]
    last = windows[:, -1:, CLOSE : CLOSE + 1].expand(-1, steps, PRICES)  # (n, T, 4)
    mean = windows[..., VOLUME : VOLUME + 1].mean(dim=1, keepdim=True).expand(-1, steps, 1)
    center = network.center[:, VOLUME + 1 :].expand(len(windows), -1, -1)  # (n, T, indicators)
    return torch.cat([last, mean, center], dim=2)


def window_parts(integral: Integral, window: NDArray[np.float32], columns: Sequence[Column]) -> dict[str, Any]:
    """Return the part of an explanation about its window, in plain JSON types."""
    (attributions,) = integral.attributions
    return {
        "baseline": BASELINE,
        "columns": [column.name for column in columns],
        "window": window.astype(np.float64).tolist(),
        "attributions": attributions.tolist(),
    }
