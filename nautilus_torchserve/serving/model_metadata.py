"""What a model says of itself (its metadata), checked once, where it is first read."""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from nautilus_torchserve.features.schema import FeatureSchema
from nautilus_torchserve.wire.body import excerpt
from nautilus_torchserve.wire.errors import IncompleteMetadata
from nautilus_torchserve.wire.names import is_version
from nautilus_torchserve.wire.output_constraints import (
    NON_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    RETURN_BPS,
    OutputConstraints,
)

MOST_OUTPUTS = 1024
"""Of a model."""
KINDS = ("rows", "texts", "windows and texts")
"""What a model can take as ``inputs``."""
HOW_TO_DESCRIBE = (
    "a model that is traded on answers a request with the header 'describe: True' with a JSON object, "
    "see docs/archives.md"
)
BARS = ("interval_ns", "max_gap_ns", "indicators")
"""What ``bars`` must say where a model looks at windows of bars."""
WINDOWS_NEED = "it says how its windows of bars were made"
OUTCOMES_NEED = "the outcome of a prediction is scored by it, leave --traffic out to run without"
Check = tuple[str, Callable[[Any], bool]]
"""What a value is to be, in words, and whether it is that."""


def is_digest(value: object) -> bool:
    """Whether a value can be a content digest: part of messages and of orders' tags."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._+~:-]{1,128}", value) is not None


def _is_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= MOST_OUTPUTS
        and all(isinstance(each, str) and each.isprintable() and 1 <= len(each) <= 128 for each in value)
        and len(set(value)) == len(value)
    )


def _is_sketch(value: Any) -> bool:
    try:
        size = len(base64.b64decode(value, validate=True)) if isinstance(value, str) else 0
    except ValueError:
        return False
    return size > 0 and size % 6 == 0


TEXT: Check = "a text", lambda value: isinstance(value, str)
COUNT: Check = "a positive integer", lambda value: type(value) is int and value > 0
TIME: Check = "Unix nanoseconds as an integer", lambda value: type(value) is int and 0 <= value < 2**63
NUMBER: Check = "a number of at least 0", lambda value: type(value) in (int, float) and 0 <= value < float("inf")
FLAG: Check = "true or false", lambda value: type(value) is bool
NAMES: Check = f"a list of 1 to {MOST_OUTPUTS} different names", _is_names
DIGEST: Check = "a text of 1 to 128 letters and digits", is_digest
VERSION: Check = "a version of 1 to 100 letters, digits and _ . -", is_version
SKETCH: Check = "base64 of pairs of 4 and 2 bytes", _is_sketch
KIND: Check = f"one of {', '.join(KINDS)}", lambda value: value in KINDS
OBJECT: Check = "an object", lambda value: isinstance(value, dict)

REQUIRED: Mapping[str, Check] = {
    "version": VERSION,
    "archive_digest": DIGEST,
    "outputs": NAMES,
    "feature_schema": OBJECT,
    "feature_schema_sha256": DIGEST,
}
OPTIONAL: Mapping[str, Check] = {"inputs": KIND, "explained_outputs": ("a list", lambda value: isinstance(value, list))}
FIT: Mapping[str, Check] = {
    "source": TEXT,
    "sha256": TEXT,
    "instrument_id": TEXT,
    "first_ts_event": TIME,
    "last_ts_event": TIME,
}
SECTIONS: Mapping[str, Mapping[str, Check]] = {
    "training": FIT,
    "label": {"horizon": COUNT, "cost_bps": NUMBER, "horizon_bars": COUNT},
    "bars": {"interval_ns": COUNT, "max_gap_ns": COUNT, "indicators": FLAG},
    "news": {"max_age_ns": COUNT, "max_texts": COUNT},
    "metrics": {"edge": TEXT},
}
"""Parts of ``model.json`` that a model may do without, and what their fields are where they are there."""
_TICK, _PRICE = ("buy", "sell", "hold"), ("price", "return_bps", "sigma_bps", "confidence")
KNOWN_OUTPUTS: Mapping[tuple[str, ...], OutputConstraints] = {
    _TICK: OutputConstraints(dict.fromkeys(_TICK, PROBABILITY), (_TICK,)),
    _PRICE: OutputConstraints(dict(zip(_PRICE, (POSITIVE, RETURN_BPS, NON_NEGATIVE, PROBABILITY), strict=True))),
}
"""What outputs of these names are in this project, where a description declares no ``output_constraints``."""


def check_metadata(metadata: object) -> dict[str, Any]:
    """Check what a model says of itself; ``inputs`` that it does not say are rows.

    ``output_constraints`` that it does not declare, as archives did not once, are those of `KNOWN_OUTPUTS`.

    Raises
    ------
    ValueError
        It does not describe itself, or a part of its description is of the wrong type.
    """
    if not isinstance(metadata, dict):
        raise ValueError(f"the model does not describe itself, got {excerpt(metadata)}: {HOW_TO_DESCRIBE}")
    missing = [name for name in REQUIRED if name not in metadata]
    if missing:
        raise ValueError(f"the model does not describe itself, got no {', '.join(missing)}: {HOW_TO_DESCRIBE}")
    for name, check in {**REQUIRED, **OPTIONAL}.items():
        _check_field(metadata, name, check)
    FeatureSchema.from_dict(metadata["feature_schema"])
    for name, checks in SECTIONS.items():
        if metadata.get(name) is None:
            continue
        _check_field(metadata, name, OBJECT)
        for field, check in checks.items():
            _check_field(metadata[name], field, check, f"{name}.")
    _check_fits(metadata.get("fits", []))
    outputs = metadata["outputs"]
    undeclared = KNOWN_OUTPUTS.get(tuple(outputs), OutputConstraints()).to_dict()
    constraints = OutputConstraints.from_dict(metadata.get("output_constraints", undeclared), outputs)
    sections = {name: metadata[name] for name in metadata if name not in SECTIONS or metadata[name] is not None}
    return {"inputs": "rows", **sections, "output_constraints": constraints.to_dict()}


def _check_fits(fits: Any) -> None:
    """What each fit saw, see `market.price_sketch`: with prices there must be the times that they
    are from.
    """
    if not isinstance(fits, list) or not all(isinstance(fit, dict) for fit in fits):
        raise ValueError(f"model.json: expected fits as a list of objects, got {excerpt(fits)}")
    for fit in fits:
        for field, check in {**FIT, "prices": SKETCH}.items():
            _check_field(fit, field, check, "fits.")
        if "prices" in fit and not {"first_ts_event", "last_ts_event"} <= fit.keys():
            raise ValueError("model.json: expected fits.first_ts_event and .last_ts_event beside .prices, got none")


def require(metadata: Mapping[str, Any], section: str, *fields: str, purpose: str) -> dict[str, Any]:
    """A part of checked metadata that a model may do without, where a caller cannot.

    Parameters
    ----------
    purpose : str
        What it is needed for, and what can be done without it.

    Raises
    ------
    IncompleteMetadata
    """
    found = metadata.get(section, {})
    missing = [f"{section}.{field}" for field in fields if field not in found]
    if missing or section not in metadata:
        raise IncompleteMetadata(
            f"{metadata.get('model', 'the model')} {metadata['version']}: expected {', '.join(missing) or section} "
            f"in its model.json, got none: {purpose}"
        )
    return dict(found)


def _check_field(values: Mapping[str, Any], name: str, check: Check, inside: str = "") -> None:
    expected, is_right = check
    if name in values and not is_right(values[name]):
        raise ValueError(f"model.json: expected {inside}{name} as {expected}, got {excerpt(values[name])}")
