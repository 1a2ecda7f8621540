"""How far forecasts of a number were off, and how often they had its sign."""

import numpy as np
from numpy.typing import NDArray


def rmse(actual: NDArray[np.float64], forecast: NDArray[np.float64]) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean((forecast - actual) ** 2)))


def mae(actual: NDArray[np.float64], forecast: NDArray[np.float64]) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(forecast - actual)))


def signs(actual: NDArray[np.float64], forecast: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which forecasts [n] have the right sign, and which count: neither number is zero."""
    return np.sign(forecast) == np.sign(actual), (actual != 0) & (forecast != 0)
