"""Implied quotes: a naive loop agrees, and no future is seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.market.trades.simulator import simulate
from nautilus_torchserve.market.trades.trades import Instrument, Trades, implied_quotes


def trades_of(events: list[tuple[int, int]]) -> Trades:
    """Trades with these prices and sides, a second apart."""
    price, side = (np.array(column, dtype=np.int64) for column in zip(*events, strict=True))
    ts = np.arange(len(price), dtype=np.int64) * 10**9
    size = np.ones(len(price), dtype=np.int64)
    return Trades(Instrument("X", "Y", 2, 3), "test", True, ts, ts, price, size, side.astype(np.int8), ts.astype(str))


EVENTS = st.lists(st.tuples(st.integers(10, 20), st.sampled_from([-1, 0, 1])), min_size=1, max_size=30)


@given(EVENTS)
def test_quotes_are_the_last_buyers_and_sellers_prices(events: list[tuple[int, int]]) -> None:
    bids, asks = implied_quotes(trades_of(events))

    buyer = seller = None
    for (price, side), bid, ask in zip(events, bids, asks, strict=True):
        buyer = price if side > 0 else buyer
        seller = price if side < 0 else seller
        assert bid < ask
        assert bid <= price <= ask
        if side > 0:
            assert ask == price
        if side < 0:
            assert bid == price
        if buyer is not None and buyer > price:
            assert ask == buyer
        if seller is not None and seller < price:
            assert bid == seller


@given(EVENTS, st.integers(1, 30))
def test_quotes_see_no_future(events: list[tuple[int, int]], stop: int) -> None:
    whole, cut = implied_quotes(trades_of(events)), implied_quotes(trades_of(events[:stop]))

    for complete, truncated in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(complete[:stop], truncated)


def test_simulated_spread_is_recovered() -> None:
    trades = simulate(20_000)
    bid, ask = implied_quotes(trades)

    assert np.median(1e4 * (ask - bid) / trades.price) == pytest.approx(1.0, abs=0.5)  # the simulator's is 1 bps
