"""How a model of another make is requested and read: its handler takes JSON and answers JSON of its own form.

A `ModelSpec` with a `JsonMapping` needs no archive of this library::

    mapping=JsonMapping(
        request={"row": "$row"},
        outputs={"up": "/probabilities/0", "down": "/probabilities/1"},
        sum_to_one=True,
    )
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nautilus_torchserve.user_error import InvalidArgument


@dataclass(frozen=True)
class JsonValue:
    """A place in a model's answer whose value is a text, such as a label, that stands for a number."""

    pointer: str
    """As a value of `JsonMapping.outputs`."""
    numbers: Mapping[str, float]
    """Text -> its number: ``{"up": 1.0, "down": -1.0}``. Any other value is an error."""


@dataclass(frozen=True, kw_only=True)
class JsonMapping:
    """JSON of a request for one row, and the places of the outputs in the answer.

    Raises
    ------
    InvalidArgument
        The outputs are no dict, or a pointer is none.
    """

    request: Any
    """The request's body for one row, in JSON types. The text ``"$row"`` in it stands for the row's values in the order
    of the schema's columns (a list of such lists where inputs are windows), ``"$rsi"`` for the column ``rsi`` alone;
    ``"$$"`` begins a text with a dollar sign."""
    outputs: Mapping[str, str | JsonValue]
    """Output of the spec -> JSON pointer (RFC 6901) of its number in the answer: ``"/spread"``, ``"/0/score"``, ``""``
    for an answer that is a number. In a list, ``label=up`` is the one object whose ``label`` is ``up``:
    ``"/label=up/score"``."""
    sum_to_one: bool = False
    """Whether the outputs are probabilities that sum to 1; every answer is checked for it."""

    def __post_init__(self) -> None:
        if not isinstance(self.outputs, Mapping):
            raise InvalidArgument(f"expected a mapping's outputs as a dict of JSON pointers, got {self.outputs!r:.80}")
        for name, place in self.outputs.items():
            pointer = place.pointer if isinstance(place, JsonValue) else place
            if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
                raise InvalidArgument(
                    f"outputs.{name}: expected a JSON pointer such as /predictions/0/{name}, got {pointer!r:.80}"
                )
