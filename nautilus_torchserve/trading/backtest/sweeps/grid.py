"""Parameter grid of a sweep: every combination of the values, or a random sample of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from nautilus_torchserve.trading.backtest.settings import RunSettings
from nautilus_torchserve.trading.checks import BadSetting, expect
from nautilus_torchserve.trading.durations import format_duration, parse_latency

Grid = Mapping[str, tuple[Any, ...]]
"""Field of the settings -> the values to try."""
Combination = Mapping[str, Any]
"""Field -> value."""
_FIXED = ("url", "spec", "strategy_settings", "traffic", "token_env", "in_sample", "instruments")
"""Fields that all backtests of a sweep share: one server, one set of data."""
_DURATION = "_ns"
_TRUTH = {"true": True, "false": False}


def parse_grid(settings: RunSettings, texts: Sequence[str]) -> Grid:
    """Parse values such as ``min_probability=0.4,0.45``, in the order given.

    A field is named as in the settings; the ``_ns`` of a duration may be omitted, and hyphens equal underscores.
    Durations are written with their unit (``1ms``), ``none`` stands for None where a field allows it.

    Raises
    ------
    BadSetting
        No such field, a value that is not of its type, or one given twice.
    """
    more = settings.sweep_fields()
    hints = {**more, **get_type_hints(type(settings))}
    known = [field.name for field in fields(settings) if field.name not in _FIXED] + list(more)
    grid: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        written, equals, listed = text.partition("=")
        expect(bool(equals and listed), f"field=value,value, got {text!r}")
        plain = written.strip().replace("-", "_")
        name = next((candidate for candidate in (plain, plain + _DURATION) if candidate in known), None)
        if name is None:
            raise BadSetting(f"expected one of {', '.join(known)}, got {written.strip()!r}")
        expect(name not in grid, f"each field once, got {name} twice")
        values = tuple(_value(name, hints[name], value.strip()) for value in listed.split(","))
        expect(len(set(values)) == len(values), f"each value of {name} once, got {listed!r}")
        grid[name] = values
    return grid


def combinations(grid: Grid, drawn: int | None = None, seed: int = 1) -> list[Combination]:
    """Return all combinations, the last field varying fastest; or a random sample of ``drawn``, in the same order.

    If there are no more than ``drawn``, return all of them.
    """
    total = math.prod(len(values) for values in grid.values())
    numbers: Sequence[int] = range(total)
    if drawn is not None and drawn < total:
        numbers = sorted(np.random.default_rng(seed).choice(total, size=drawn, replace=False).tolist())
    return [_combination(grid, number) for number in numbers]


def written(name: str, value: Any) -> str:
    """Return a field's value as it is written on the command line."""
    if name.endswith(_DURATION) and value:
        return format_duration(value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _combination(grid: Grid, number: int) -> Combination:
    chosen = {}
    for name in reversed(list(grid)):
        number, at = divmod(number, len(grid[name]))
        chosen[name] = grid[name][at]
    return {name: chosen[name] for name in grid}


def _value(name: str, hint: Any, text: str) -> Any:
    if get_origin(hint) in (Union, UnionType):
        if text.lower() == "none" and NoneType in get_args(hint):
            return None
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    if get_origin(hint) is Literal:
        expect(text in get_args(hint), f"{name} of {' or '.join(get_args(hint))}, got {text!r}")
        return text
    if hint is int and name.endswith(_DURATION):
        return parse_latency(text)
    if hint is bool:
        expect(text.lower() in _TRUTH, f"{name} of true or false, got {text!r}")
        return _TRUTH[text.lower()]
    if hint is Path:
        return Path(text)
    if hint is str:
        return text
    return _number(name, hint, text)


def _number(name: str, kind: type[int] | type[float] | type[Decimal], text: str) -> int | float | Decimal:
    try:
        value = kind(text)
    except (ValueError, InvalidOperation):
        value = None
    if value is None or not math.isfinite(value):
        noun = "a whole number" if kind is int else "a number"
        raise BadSetting(f"{name}: expected {noun}, got {text!r}")
    return value
