from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.trading.backtest.bars.settings import BarBacktestSettings
from nautilus_torchserve.trading.backtest.sweeps.grid import Grid, combinations, parse_grid
from nautilus_torchserve.trading.backtest.tick.settings import BacktestSettings
from nautilus_torchserve.trading.checks import BadSetting

grids = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(), min_size=1, max_size=4, unique=True).map(tuple), min_size=1
)


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("min_confidence=0.6,0.65", "min_confidence", (0.6, 0.65)),
        ("latency=0,500us,1ms", "latency_ns", (0, 500_000, 1_000_000)),
        ("max-age=1s", "max_age_ns", (10**9,)),
        ("latency_seed=1,2", "latency_seed", (1, 2)),
        ("trade_size=0.1, 0.2", "trade_size", (Decimal("0.1"), Decimal("0.2"))),
        ("cost_bps=none,1.5", "cost_bps", (None, 1.5)),
        ("horizon=none,2m", "horizon_ns", (None, 120 * 10**9)),
        ("latency_profile=a.json,none", "latency_profile", (Path("a.json"), None)),
        ("version=1.0,1.1", "version", ("1.0", "1.1")),
        ("mode=inline,prefetch", "mode", ("inline", "prefetch")),
    ],
)
def test_values_are_of_their_fields_types(text: str, name: str, values: tuple[Any, ...]) -> None:
    grid = parse_grid(BarBacktestSettings(url="mar:price.mar"), [text])

    assert grid == {name: values}
    assert [type(value) for value in grid[name]] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        (["probability=0.4"], r"expected one of model, .*min_probability, cooldown_ns, got 'probability'"),
        (["min_probability"], r"expected field=value,value, got 'min_probability'"),
        (["min_probability="], r"expected field=value,value"),
        (["min_probability=high"], r"min_probability: expected a number, got 'high'"),
        (["min_probability=nan"], r"min_probability: expected a number, got 'nan'"),
        (["trade_size=big"], r"trade_size: expected a number, got 'big'"),
        (["latency_seed=1.5"], r"latency_seed: expected a whole number, got '1.5'"),
        (["latency=5"], r"expected a duration such as 500us, 1ms, 2s or 4-HOUR, got '5'"),
        (["latency=none"], r"a duration such as"),
        (["mode=fast"], r"expected mode of inline or prefetch, got 'fast'"),
        (["latency=1ms", "latency_ns=2ms"], r"expected each field once, got latency_ns twice"),
        (["min_probability=0.4,0.40"], r"expected each value of min_probability once, got '0.4,0.40'"),
        (["url=http://x"], r"got 'url'"),
        (["in_sample=true"], r"got 'in_sample'"),
    ],
)
def test_invalid_grid_is_refused(texts: list[str], error: str) -> None:
    with pytest.raises(BadSetting, match=error):
        parse_grid(BacktestSettings(url="mar:tick.mar"), texts)


@given(grids)
def test_combinations_are_the_product_in_order(grid: Grid) -> None:
    sampled = combinations(grid)

    assert [tuple(combination.values()) for combination in sampled] == list(product(*grid.values()))
    assert all(list(combination) == list(grid) for combination in sampled)


@given(grids, st.integers(1, 300), st.integers(0, 2**32))
def test_drawn_ones_are_different_and_in_order(grid: Grid, drawn: int, seed: int) -> None:
    everything = combinations(grid)

    sampled = combinations(grid, drawn, seed)

    assert len(sampled) == min(drawn, len(everything))
    places = [everything.index(combination) for combination in sampled]
    assert places == sorted(set(places))
    assert sampled == combinations(grid, drawn, seed)


def test_large_grids_are_drawn_from_without_being_made() -> None:
    grid = {str(field): tuple(range(1000)) for field in range(5)}

    assert len(combinations(grid, 10, seed=1)) == 10
    assert combinations(grid, 10, seed=1) != combinations(grid, 10, seed=2)
