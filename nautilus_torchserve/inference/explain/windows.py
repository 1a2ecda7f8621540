"""What moved a forecast from a window of bars: one attribution a bar and column."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model_defs.return_network import CLOSE, OUTPUTS, PRICES, VOLUME, ReturnNetwork, predict
from nautilus_torchserve.features.schema import Column
from nautilus_torchserve.inference.explain.integrate import Integral, TimeLimit, chosen, integrate

DEFAULT = "return_bps"
BASELINE = (
    "a window in which nothing happened (every price at its last close, volume at its mean, indicators at their "
    "centre in the fit)"
)
WINDOWS_AT_ONCE = 8
"""Points of the path that are computed together."""
FLOOR_BPS, FLOOR_CONFIDENCE = 1e-3, 1e-4
FLOORS = {"price": FLOOR_BPS / 1e4, "return_bps": FLOOR_BPS, "sigma_bps": FLOOR_BPS, "confidence": FLOOR_CONFIDENCE}
"""Completeness error let pass: in bps, of a probability; of the price as a share of the last close."""


def explain_window(
    network: nn.Module, window: NDArray[np.float32], columns: Sequence[Column], output: str | None, limit: TimeLimit
) -> dict[str, Any]:
    """What moved one output away from what it is where nothing happened.

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
        Plain JSON types: ``output``, what `inference.explain.integrate.Integral.to_dict` has,
        ``baseline`` (in words),
        ``columns`` (names), ``window`` and ``attributions`` (both [time][columns], oldest first).

    Raises
    ------
    NotExplained
        There is no such output.
    """
    name = chosen(output, DEFAULT, OUTPUTS)
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
    """From `eventless` to the window; ``forecast`` is float64 [points, time, columns] -> float64 [points].

    Every point between is a window too: its last close and its mean volume are those of both ends, and highs stay
    above opens and closes.
    """
    device = next(network.parameters()).device
    given = torch.from_numpy(window.astype(np.float64)).unsqueeze(0).to(device)  # (1, T, F)
    baseline = eventless(cast(ReturnNetwork, network), given)
    return integrate(forecast, (given,), (baseline,), floor, limit, WINDOWS_AT_ONCE)


def eventless(network: ReturnNetwork, windows: torch.Tensor) -> torch.Tensor:
    """Windows in which nothing happened, beside these float64 [n, time, columns]."""
    steps = windows.shape[1]
    last = windows[:, -1:, CLOSE : CLOSE + 1].expand(-1, steps, PRICES)  # (n, T, 4)
    mean = windows[..., VOLUME : VOLUME + 1].mean(dim=1, keepdim=True).expand(-1, steps, 1)
    center = network.center[:, VOLUME + 1 :].expand(len(windows), -1, -1)  # (n, T, indicators)
    return torch.cat([last, mean, center], dim=2)


def window_parts(integral: Integral, window: NDArray[np.float32], columns: Sequence[Column]) -> dict[str, Any]:
    """What an explanation says of its window, in plain JSON types."""
    (attributions,) = integral.attributions
    return {
        "baseline": BASELINE,
        "columns": [column.name for column in columns],
        "window": window.astype(np.float64).tolist(),
        "attributions": attributions.tolist(),
    }
