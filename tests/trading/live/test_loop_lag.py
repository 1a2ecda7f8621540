"""Quantiles of the event loop's lag come out within a bin of what they are."""

import asyncio
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nautilus_torchserve.trading.live.run_summary import LoopLag


@settings(deadline=None)
@given(lags=st.lists(st.floats(0.01, 10_000), min_size=1), share=st.floats(0.01, 1.0))
def test_quantiles_are_within_a_bin(lags: list[float], share: float) -> None:
    lag = LoopLag()
    for late_s in lags:
        lag.add(late_s)

    exact = float(np.quantile(lags, share, method="inverted_cdf"))

    assert lag.quantile_ms(share) == pytest.approx(exact, rel=0.0501)
    assert lag.max_ms == max(lags)


def test_a_blocked_loop_is_measured() -> None:
    lag = LoopLag()

    async def block() -> None:
        measuring = asyncio.create_task(lag.measure())
        await asyncio.sleep(0)
        time.sleep(0.2)  # the loop is blocked, which is the point
        while not lag.max_ms:
            await asyncio.sleep(0.001)
        measuring.cancel()

    asyncio.run(block())

    assert lag.max_ms > 150
    assert lag.blocked_s > 0.15
