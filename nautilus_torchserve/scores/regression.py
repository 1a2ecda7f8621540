"""Errors of numeric forecasts, and the accuracy of their sign."""

import numpy as np
from numpy.typing import NDArray


def rmse(actual: NDArray[np.float64], forecast: NDArray[np.float64]) -> float:
    """Return the root mean squared error."""
    return float(np.sqrt(np.mean((forecast - actual) ** 2)))


def mae(actual: NDArray[np.float64], forecast: NDArray[np.float64]) -> float:
    """Return the mean absolute error."""
    return float(np.mean(np.abs(forecast - actual)))


def signs(actual: NDArray[np.float64], forecast: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which forecasts [n] have the right sign, and which count: neither number is zero."""
    return np.sign(forecast) == np.sign(actual), (actual != 0) & (forecast != 0)
