"""An explanation in words: what a model said, what it would say of nothing, and which inputs made the difference."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

SPANS = (1, 5, 15)
"""Ends of the parts of a window that bars are put together in, counted from the newest bar."""
STRONGEST = 8
"""Drivers that are named one by one."""
HEADLINE = 48
"""Characters of a headline that stand for it."""
_CALLED = {
    "price": "the next close",
    "return_bps": "the expected return",
    "sigma_bps": "the standard deviation of the next return",
    "confidence": "the confidence",
    "score": "the score",
    "log_odds_up": "the log odds of a rise",
}


class Driver(NamedTuple):
    """Something that moved an output."""

    name: str
    detail: str
    """What it was: ``0.81 (mean 0.02)``."""
    attribution: float
    """In the output's unit."""


def drivers(explanation: Mapping[str, Any]) -> list[Driver]:
    """What moved the output, the strongest first: features, words, bars by column and distance, or whole headlines."""
    if "features" in explanation:
        found = [
            Driver(each["name"], _minus(f"{each['value']:.3g} {_unit(each['unit'])}".rstrip()), each["attribution"])
            for each in explanation["features"]
        ]
    elif "window" in explanation:
        found = _bars(explanation)
    elif "tokens" in explanation:
        found = _words(explanation["tokens"])
    else:
        found = [each._replace(name=f"bars: {each.name}") for each in _bars(explanation["price"])]
        for text in (explanation["news"] or {"texts": ()})["texts"]:
            found.append(Driver(f"news: {_quoted(_begun(text['text']))}", "", text["attribution"]))
    return sorted(found, key=lambda driver: -abs(driver.attribution))


def strongest(explanation: Mapping[str, Any], most: int = STRONGEST) -> list[Driver]:
    """The strongest of `drivers`, and all others as one."""
    found = drivers(explanation)
    if len(found) <= most + 1:
        return found
    rest = found[most:]
    return [*found[:most], Driver(f"{len(rest)} others", "", math.fsum(each.attribution for each in rest))]


def sentences(explanation: Mapping[str, Any]) -> list[str]:
    """What it says, for a reader who has never heard of integrated gradients."""
    name = explanation["output"]
    value, baseline = explanation["value"], explanation["baseline_value"]
    called = _CALLED.get(name, f"the probability of {name.upper()}")
    them, verb = ("they", "are") if name == "log_odds_up" else ("it", "is")
    otherwise = f"{them} would be {amount(baseline, name)} with {_nothing(explanation)}"
    said = [f"{_capital(called)} {verb} {amount(value, name)}; {otherwise}."]
    if "price" in explanation and "window" not in explanation:
        said += _parts(explanation)
    up = [each for each in drivers(explanation) if each.attribution > 0][:3]
    down = [each for each in drivers(explanation) if each.attribution < 0][:3]
    for pushed, which in ((up, "up"), (down, "down")):
        if pushed:
            said.append(f"What pushed it {which} most: {'; '.join(_told(each, name) for each in pushed)}.")
    said.append(completeness(explanation))
    return said


def completeness(explanation: Mapping[str, Any]) -> str:
    """Whether the attributions add up to the difference that they explain."""
    name = explanation["output"]
    error = f"{abs(explanation['completeness_error']):.2g}"
    difference = amount(explanation["value"] - explanation["baseline_value"], name, sign=True)
    if explanation["complete"]:
        return f"The attributions add up to the difference of {difference}, to within {error}."
    return (
        f"NOT COMPLETE: the attributions miss the difference of {difference} by {error} after {explanation['steps']} "
        "steps; take their order, not their size."
    )


def amount(value: float, output: str, sign: bool = False) -> str:
    """A value of an output with its unit."""
    form = ",.2f" if output == "price" else ".3f"
    text = _minus(f"{value:{'+' if sign else ''}{form}}")
    if output == "log_odds_up" and not sign:
        return f"{text} (probability {1 / (1 + math.exp(-value)):.3f})"
    return f"{text} bps" if output.endswith("_bps") else text


def _bars(explanation: Mapping[str, Any]) -> list[Driver]:
    values = np.asarray(explanation["attributions"], dtype=np.float64)
    found = []
    for column, name in enumerate(explanation["columns"]):
        for start, stop, called in spans(len(values)):
            part = values[len(values) - stop : len(values) - start, column]
            found.append(Driver(f"{name}, {called}", "", math.fsum(part)))
    return found


def spans(steps: int) -> list[tuple[int, int, str]]:
    """Parts of a window: distances from the newest bar, the last one exclusive, and what to call the part."""
    edges = [0, *(edge for edge in SPANS if edge < steps), steps]
    return [(start, stop, _span(start, stop - 1)) for start, stop in pairwise(edges)]


def _span(nearest: int, farthest: int) -> str:
    if farthest == 0:
        return "the last bar"
    return f"{nearest} to {farthest} bars before" if nearest < farthest else f"{nearest} bars before"


def _words(tokens: Sequence[Mapping[str, Any]]) -> list[Driver]:
    """Tokens that touch each other are one word."""
    found: list[Driver] = []
    end = None
    for token in tokens:
        if end is not None and token["start"] == end and token["text"][:1].isalnum() and found[-1].name[-1:].isalnum():
            last = found.pop()
            found.append(Driver(last.name + token["text"], "", last.attribution + token["attribution"]))
        else:
            found.append(Driver(token["text"], "", token["attribution"]))
        end = token["end"]
    return [each._replace(name=_quoted(each.name)) for each in found]


def _begun(text: str) -> str:
    return text if len(text) <= HEADLINE else text[: HEADLINE - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _quoted(text: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{text}\N{RIGHT DOUBLE QUOTATION MARK}"


def _parts(explanation: Mapping[str, Any]) -> list[str]:
    price, news = explanation["price"], explanation["news"]
    bars = amount(price["value"], explanation["output"], sign=True)
    said = [f"The bars' part is {bars}, their weight of {price['weight']:.2f} applied."]
    if news is None:
        return [*said, f"{_capital(explanation['fallback'])}."]
    count = len(news["texts"])
    texts = "1 headline's" if count == 1 else f"{count} headlines'"
    heard = amount(news["value"], explanation["output"], sign=True)
    return [*said, f"The {texts} part is {heard}, weight of {news['weight']:.2f} applied."]


def _told(driver: Driver, output: str) -> str:
    detail = f" ({driver.detail})" if driver.detail else ""
    return f"{driver.name}{detail} by {amount(driver.attribution, output, sign=True)}"


def _nothing(explanation: Mapping[str, Any]) -> str:
    if "baseline" in explanation:
        return str(explanation["baseline"])
    said = [explanation["price"]["baseline"]]
    if explanation["news"] is not None:
        said.append(explanation["news"]["baseline"])
    return " and ".join(said)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
