"""An explanation in sentences: the output, what it is at the baseline, and the inputs that make the difference."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from nautilus_torchserve.models.table import MODELS

SPANS = (1, 5, 15)
"""Ends of the parts of a window over which attributions are summed, counted from the newest bar."""
STRONGEST = 8
"""Number of drivers that are named one by one."""
HEADLINE = 48
"""Number of characters of a headline that are shown."""
_LABELS = {output.name: output.label for spec in MODELS.values() for output in spec.outputs if output.label} | {
    "log_odds_up": "the log odds of a rise"
}


class Driver(NamedTuple):
    """An input that moved an output."""

    name: str
    detail: str
    """Its value: ``0.81``; empty where it has none of its own."""
    attribution: float
    """In the output's unit."""


def drivers(explanation: Mapping[str, Any]) -> list[Driver]:
    """Return the drivers, the strongest first: features, words, bars by column and distance, or whole headlines."""
    if "features" in explanation:
        unsorted = [
            Driver(
                feature["name"],
                _minus(f"{feature['value']:.3g} {_unit(feature['unit'])}".rstrip()),
                feature["attribution"],
            )
            for feature in explanation["features"]
        ]
    elif "window" in explanation:
        unsorted = _bars(explanation)
    elif "tokens" in explanation:
        unsorted = _words(explanation["tokens"])
    else:
        unsorted = [driver._replace(name=f"bars: {driver.name}") for driver in _bars(explanation["price"])]
        for text in (explanation["news"] or {"texts": ()})["texts"]:
            unsorted.append(Driver(f"news: {_quoted(_shortened(text['text']))}", "", text["attribution"]))
    return sorted(unsorted, key=lambda driver: -abs(driver.attribution))


def strongest(explanation: Mapping[str, Any], most: int = STRONGEST) -> list[Driver]:
    """Return the strongest of `drivers`, and the sum of all others as one."""
    by_strength = drivers(explanation)
    if len(by_strength) <= most + 1:
        return by_strength
    rest = by_strength[most:]
    return [*by_strength[:most], Driver(f"{len(rest)} others", "", math.fsum(driver.attribution for driver in rest))]


def sentences(explanation: Mapping[str, Any]) -> list[str]:
    """Return the explanation in sentences, for readers who do not know integrated gradients."""
    name = explanation["output"]
    value, baseline = explanation["value"], explanation["baseline_value"]
    label = _LABELS.get(name, f"the output {name}")
    pronoun, verb = ("they", "are") if name == "log_odds_up" else ("it", "is")
    at_baseline = f"{pronoun} would be {amount(baseline, name)} with {_baseline(explanation)}"
    lines = [f"{_capital(label)} {verb} {amount(value, name)}; {at_baseline}."]
    if "price" in explanation and "window" not in explanation:
        lines += _parts(explanation)
    up = [driver for driver in drivers(explanation) if driver.attribution > 0][:3]
    down = [driver for driver in drivers(explanation) if driver.attribution < 0][:3]
    for pushing, direction in ((up, "upwards"), (down, "downwards")):
        if pushing:
            lines.append(
                f"Main contributions {direction}: {'; '.join(_driver_text(driver, name) for driver in pushing)}."
            )
    lines.append(completeness(explanation))
    return lines


def completeness(explanation: Mapping[str, Any]) -> str:
    """Return whether the attributions add up to the difference that they explain."""
    name = explanation["output"]
    error = f"{abs(explanation['completeness_error']):.2g}"
    difference = amount(explanation["value"] - explanation["baseline_value"], name, sign=True)
    if explanation["complete"]:
        return f"The attributions add up to the difference of {difference}, to within {error}."
    return (
        f"NOT COMPLETE: the attributions miss the difference of {difference} by {error} after {explanation['steps']} "
        "steps; rely on their order, not their size."
    )


def amount(value: float, output: str, sign: bool = False) -> str:
    """Return a value of an output with its unit."""
    form = ",.2f" if output == "price" else ".2g" if 0 < abs(value) < 0.0005 else ".3f"
    text = _minus(f"{value:{'+' if sign else ''}{form}}")
    if output == "log_odds_up" and not sign:
        return f"{text} (probability {1 / (1 + math.exp(-value)):.3f})"
    return f"{text} bps" if output.endswith("_bps") else text


def _bars(explanation: Mapping[str, Any]) -> list[Driver]:
    values = np.asarray(explanation["attributions"], dtype=np.float64)
    drivers, noun = [], step_noun(explanation)
    for column, name in enumerate(explanation["columns"]):
        for start, stop, label in spans(len(values), noun):
            part = values[len(values) - stop : len(values) - start, column]
            drivers.append(Driver(f"{name}, {label}", "", math.fsum(part)))
    return drivers


def step_noun(explanation: Mapping[str, Any]) -> str:
    """Return what one step of a window is called: a bar, or with columns of a user's own a step."""
    return "bar" if "close" in explanation["columns"] else "step"


def spans(steps: int, noun: str = "bar") -> list[tuple[int, int, str]]:
    """Return the parts of a window: distances from the newest bar, the last exclusive, and the part's label."""
    edges = [0, *(edge for edge in SPANS if edge < steps), steps]
    return [(start, stop, _span(start, stop - 1, noun)) for start, stop in pairwise(edges)]


def _span(nearest: int, farthest: int, noun: str) -> str:
    if farthest == 0:
        return f"the last {noun}"
    return f"{nearest} to {farthest} {noun}s before" if nearest < farthest else f"{nearest} {noun}s before"


def _words(tokens: Sequence[Mapping[str, Any]]) -> list[Driver]:
    """Return one driver per word: tokens that touch each other are one word."""
    drivers: list[Driver] = []
    end = None
    for token in tokens:
        if (
            end is not None
            and token["start"] == end
            and token["text"][:1].isalnum()
            and drivers[-1].name[-1:].isalnum()
        ):
            last = drivers.pop()
            drivers.append(Driver(last.name + token["text"], "", last.attribution + token["attribution"]))
        else:
            drivers.append(Driver(token["text"], "", token["attribution"]))
        end = token["end"]
    return [driver._replace(name=_quoted(driver.name)) for driver in drivers]


def _shortened(text: str) -> str:
    return text if len(text) <= HEADLINE else text[: HEADLINE - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _quoted(text: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{text}\N{RIGHT DOUBLE QUOTATION MARK}"


def _parts(explanation: Mapping[str, Any]) -> list[str]:
    price, news = explanation["price"], explanation["news"]
    bars = amount(price["value"], explanation["output"], sign=True)
    lines = [f"The bars contribute {bars}, at a weight of {price['weight']:.2f}."]
    if news is None:
        return [*lines, f"{_capital(explanation['fallback'])}."]
    count = len(news["texts"])
    texts = "1 headline contributes" if count == 1 else f"{count} headlines contribute"
    part = amount(news["value"], explanation["output"], sign=True)
    return [*lines, f"{texts} {part}, at a weight of {news['weight']:.2f}."]


def _driver_text(driver: Driver, output: str) -> str:
    detail = f" ({driver.detail})" if driver.detail else ""
    return f"{driver.name}{detail} {amount(driver.attribution, output, sign=True)}"


def _baseline(explanation: Mapping[str, Any]) -> str:
    if "baseline" in explanation:
        return str(explanation["baseline"])
    baselines = [explanation["price"]["baseline"]]
    if explanation["news"] is not None:
        baselines.append(explanation["news"]["baseline"])
    return " and ".join(baselines)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
