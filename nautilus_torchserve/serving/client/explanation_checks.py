"""The check of a server's explanations: JSON of the right form, about what was asked."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.serving.client.inputs import Inputs
from nautilus_torchserve.serving.client.served_version import shown
from nautilus_torchserve.wire.body import excerpt
from nautilus_torchserve.wire.errors import InvalidResponse
from nautilus_torchserve.wire.news_windows import NewsWindow


def read_explanations(body: bytes, inputs: Inputs, output: str | None, schema: FeatureSchema) -> list[dict[str, Any]]:
    """Parse a response's body, and check it; see `check_explanations`."""
    try:
        found = orjson.loads(body)["explanations"]  # refuses NaN and infinity
    except (orjson.JSONDecodeError, LookupError, TypeError):
        raise InvalidResponse(f"expected {len(inputs)} explanations, got {shown(body)}") from None
    check_explanations(found, inputs, output, schema)
    return found


def check_explanations(found: object, inputs: Inputs, output: str | None, schema: FeatureSchema) -> None:
    """Check that there is one explanation for each input: of the output, and about the input, that was asked about.

    What is checked is what `inference.explain.integrate` and its kin write; a handler of another
    kind may say more, or less.

    Parameters
    ----------
    inputs : Inputs
        What was asked about.
    output : str, optional
        Which output was asked about.
    schema : FeatureSchema
        Of the version that answered.

    Raises
    ------
    InvalidResponse
    """
    if not isinstance(found, list) or len(found) != len(inputs) or not all(isinstance(each, dict) for each in found):
        got = f"{len(found)} values" if isinstance(found, list) else type(found).__name__
        raise InvalidResponse(f"expected {len(inputs)} explanations, got {got}")
    for number, explanation in enumerate(found):
        try:
            _check_one(explanation, inputs[number], output, schema)
        except InvalidResponse as error:
            raise InvalidResponse(f"explanation {number}: {error}") from None


def _check_one(explanation: Mapping[str, Any], given: Any, output: str | None, schema: FeatureSchema) -> None:
    if output is not None and explanation.get("output") != output:
        raise InvalidResponse(f"expected output {output}, got {excerpt(explanation.get('output'))}")
    _check_numbers(explanation, ("value", "baseline_value"))
    if isinstance(given, str):
        if explanation.get("text", given) != given:
            raise InvalidResponse("expected the text that was sent, got another")
        _check_rows(explanation, "tokens")
        return
    row = np.asarray(given.window if isinstance(given, NewsWindow) else given)
    names = [column.name for column in schema.columns]
    if _check_rows(explanation, "features") not in (None, names):
        raise InvalidResponse(f"expected features {', '.join(names):.80}, got others")
    for part in (explanation, explanation.get("price")):  # of an ensemble's, the part that explains the window
        if isinstance(part, dict):
            _check_window(part, row)


def _check_rows(explanation: Mapping[str, Any], key: str) -> list[Any] | None:
    """The names in a list of objects with an attribution each; None where there is none."""
    rows = explanation.get(key)
    if rows is None:
        return None
    if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
        raise InvalidResponse(f"expected {key} as a list of objects, got {excerpt(rows)}")
    for each in rows:
        _check_numbers(each, ("value", "baseline", "attribution"))
    return [each.get("name") for each in rows]


def _check_numbers(values: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in keys:
        if key in values and not _is_number(values[key]):
            raise InvalidResponse(f"expected {key} as a finite number, got {excerpt(values[key])}")


def _check_window(explanation: Mapping[str, Any], row: np.ndarray) -> None:
    for key in ("window", "attributions"):
        values = explanation.get(key)
        if values is None:
            continue
        if not _has_shape(values, row.shape):
            raise InvalidResponse(f"expected {key} of shape {list(row.shape)}, got another")
        if key == "window" and not np.array_equal(np.asarray(values, np.float32), row):
            raise InvalidResponse("expected the window that was sent, got another")


def _has_shape(values: object, shape: Sequence[int]) -> bool:
    if not shape:
        return _is_number(values)
    return isinstance(values, list) and len(values) == shape[0] and all(_has_shape(each, shape[1:]) for each in values)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
