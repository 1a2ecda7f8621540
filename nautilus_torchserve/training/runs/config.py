"""Configuration files of trainings: tuning writes them, the next training reads them."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError

from nautilus_torchserve.files.atomic_file import fresh_file, settle
from nautilus_torchserve.user_error import InvalidArgument

TUNED = "tuned"


class BadConfig(InvalidArgument):
    """A configuration file with a key or a value that no run accepts; names file and key."""


@dataclass(frozen=True)
class Provenance:
    """Origin of a tuned configuration: section `TUNED` of the file."""

    study: str
    """Name of the study."""
    trials: int
    """Trials that it was the best of."""
    value: float
    """Value of its objective."""


def write_config(
    path: Path, best: Mapping[str, object], fixed: Mapping[str, Mapping[str, object]], provenance: Provenance
) -> None:
    """Write sections of tuned and fixed values as JSON, all at once or not at all.

    Parameters
    ----------
    best : mapping
        Section -> name -> value, such as ``{"network": {"hidden": 64}, "fit": {"learning_rate": 1e-3}}``.
    fixed : mapping
        Sections of what was not tuned; a tuned value overrides a fixed one.

    Raises
    ------
    BadConfig
        What is tuned is not in sections, or is not JSON.
    """
    sections: dict[str, dict[str, object]] = {name: dict(values) for name, values in fixed.items()}
    for name, values in best.items():
        if not isinstance(values, Mapping):
            raise BadConfig(f"{path}: {name}: expected a section, got {values!r}")
        sections.setdefault(name, {}).update(values)
    try:
        text = json.dumps({**sections, TUNED: asdict(provenance)}, indent=2, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadConfig(f"{path}: expected values of JSON types: {error}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    with fresh_file(path.parent, path.name) as file:
        file.write(f"{text}\n".encode())
        settle(file, path, 0o644)


def read_config(path: Path | None, sections: Mapping[str, type], settings: Sequence[str] = ()) -> dict[str, Any]:
    """Read a configuration, every key and type checked.

    Parameters
    ----------
    path : Path, optional
        JSON: an object of sections, and optionally `TUNED`; None for defaults and settings alone.
    sections : mapping
        Section -> its frozen dataclass, such as ``{"network": PriceLSTMConfig, "fit": PriceFitConfig}``.
    settings : sequence of str
        ``fit.epochs=5``: single values, which override those of the file; a later one overrides an earlier one. A value
        that is not JSON is a text.

    Returns
    -------
    dict
        Section -> instance; what the file omits has its default. `TUNED` -> `Provenance`
        where the file has one.

    Raises
    ------
    BadConfig
        Names the file, the key, and what was expected there.
    """
    overrides: dict[str, dict[str, object]] = {name: {} for name in sections}
    for text in settings:
        section, name, value = _parse_setting(text, sections)
        overrides[section][name] = value
    where = "settings" if path is None else str(path)
    document = {} if path is None else _section(where, "the file", _parse(path), {**sections, TUNED: Provenance})
    config = {}
    for name, kind in sections.items():
        values = document.get(name, {})
        if isinstance(values, dict):
            values = {**values, **overrides[name]}
        config[name] = _build(where, name, kind, values)
    if TUNED in document:
        config[TUNED] = _build(where, TUNED, Provenance, document[TUNED])
    return config


def _parse(path: Path) -> object:
    def refuse(constant: str) -> NoReturn:
        raise BadConfig(f"{path}: expected a finite number, got {constant}")

    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except FileNotFoundError:
        raise BadConfig(f"{path}: expected a configuration file, got none") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadConfig(f"{path}: expected JSON: {error}") from None


def _build(path: str, section: str, kind: type, values: object) -> Any:
    known: dict[str, Field[Any]] = {field.name: field for field in fields(kind)}
    hints = get_type_hints(kind)
    values = _section(path, section, values, known)
    missing = [
        name
        for name, field in known.items()
        if field.default is MISSING and field.default_factory is MISSING and name not in values
    ]
    if missing:
        raise BadConfig(f"{path}: {section}.{missing[0]}: expected a value, got none")
    checked = {name: _value(path, f"{section}.{name}", hints[name], value) for name, value in values.items()}
    try:
        return kind(**checked)
    except ValueError as error:  # the dataclass's own conditions
        raise BadConfig(f"{path}: {section}: {error}") from None


def _section(path: str, name: str, values: object, known: Mapping[str, object]) -> dict[str, object]:
    if not isinstance(values, dict):
        raise BadConfig(f"{path}: {name}: expected an object, got {values!r}")
    for key in values:
        if key not in known:
            raise BadConfig(f"{path}: {name}: expected one of {', '.join(known)}, got {key!r}")
    return values


def _value(path: str, key: str, hint: Any, value: object) -> object:
    try:  # as JSON: a list may be a tuple and 1 a float there, but "1" is no number and True no int
        return TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        inner = "".join(f"[{at}]" for at in first["loc"] if isinstance(at, int))
        raise BadConfig(f"{path}: {key}{inner}: expected {_as_text(hint)}, got {first['input']!r}") from None


def _as_text(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _parse_setting(text: str, sections: Collection[str]) -> tuple[str, str, object]:
    """Split ``fit.epochs=5`` into section, name and value."""
    key, equals, value = text.partition("=")
    section, dot, name = key.partition(".")
    if not equals or not dot or section not in sections:
        forms = " or ".join(f"{section}.NAME=VALUE" for section in sections)
        raise BadConfig(f"expected {forms}, got {text!r}")
    try:
        return section, name, json.loads(value)
    except json.JSONDecodeError:
        return section, name, value


def choose_device(name: str) -> str:
    """Return ``cpu`` or ``cuda``: for ``auto`` CUDA where there is one.

    Raises
    ------
    BadConfig
        Another name, or CUDA where torch finds none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise BadConfig(f"expected device auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadConfig("expected a CUDA device, got none that torch finds")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
