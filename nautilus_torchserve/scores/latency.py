"""Percentiles of latencies."""

import numpy as np
from numpy.typing import NDArray


def percentiles_ms(latency_ns: NDArray[np.float64], ranks: tuple[float, ...] = (50, 95, 99)) -> dict[str, float]:
    """Return percentiles in milliseconds by name (``p50``), interpolated linearly; NaN without values."""
    values = latency_ns[np.isfinite(latency_ns)] / 1e6
    percentiles = np.percentile(values, ranks) if len(values) else np.full(len(ranks), np.nan)
    return {f"p{rank:g}": float(value) for rank, value in zip(ranks, percentiles, strict=True)}
