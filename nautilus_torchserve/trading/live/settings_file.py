"""Reading a live run's file: every error names the file, the key, what was expected and the value."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from nautilus_torchserve.trading.checks import BadSetting
from nautilus_torchserve.trading.durations import parse_duration
from nautilus_torchserve.trading.live.settings import LiveSettings

_SECRET = re.compile(r"(^|_)(api_?key|secret|api_?secret|token|password|passphrase|private_?key|credentials?)$", re.I)
"""Names of fields that hold secrets. ``api_key_env`` holds a variable's name and does not match."""
_USER_IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_WHERE = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


def load_settings(path: Path) -> LiveSettings:
    """Return the settings in a TOML file.

    A field whose name ends in ``_ns`` may be a duration: ``max_age_ns = "50ms"``.

    Raises
    ------
    BadSetting
        The file cannot be read, has a field that is unknown, missing, of the wrong type or makes no sense, or
        holds a secret.
    """
    try:
        written = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path}: expected a readable file, got {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"{path}: expected TOML, got {error}") from None
    _check_no_secrets(path, written)
    written = _in_ns(path, written)
    try:
        return msgspec.convert(written, LiveSettings)
    except msgspec.ValidationError as error:
        raise BadSetting(f"{path}: {_in_words(str(error), written)}") from None


def environment_value(variable: str, wanted_by: str) -> str:
    """Return the value of a variable that the file names.

    Raises
    ------
    BadSetting
        It is not set.
    """
    value = os.environ.get(variable)
    if not value:
        raise BadSetting(f"{wanted_by}: expected environment variable {variable}, got none")
    return value


def _check_no_secrets(path: Path, written: Mapping[str, Any]) -> None:
    for key, value in _leaves(written):
        name = re.sub(r"\[\d+\]$", "", key).rpartition(".")[2]
        in_environment = ".config_env." in f".{key}"
        if _SECRET.search(name) and not in_environment:
            raise BadSetting(
                f"{path}: {key}: expected no secret in a file (name its environment variable: {name}_env, or "
                f"config_env of an adapter), got one"
            )
        if isinstance(value, str) and _USER_IN_URL.search(value):
            raise BadSetting(f"{path}: {key}: expected a URL without a password, got one with a password")


def _leaves(table: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(table, Mapping):
        for name, value in table.items():
            yield from _leaves(value, f"{key}.{name}" if key else name)
    elif isinstance(table, list):
        for place, value in enumerate(table):
            yield from _leaves(value, f"{key}[{place}]")
    else:
        yield key, table


def _in_ns(path: Path, table: Any, key: str = "") -> Any:
    """Return the table with durations as nanoseconds."""
    if isinstance(table, list):
        return [_in_ns(path, value, f"{key}[{place}]") for place, value in enumerate(table)]
    if not isinstance(table, dict):
        return table
    converted: dict[str, Any] = {}
    for name, value in table.items():
        here = f"{key}.{name}" if key else name
        if name.endswith("_ns") and isinstance(value, str):
            try:
                converted[name] = parse_duration(value)
            except BadSetting as error:
                raise BadSetting(f"{path}: {here}: {error}") from None
        else:
            converted[name] = _in_ns(path, value, here)
    return converted


def _in_words(message: str, written: Any) -> str:
    """Return msgspec's message as ``key: expected X, got Y``."""
    where = _WHERE.search(message)
    key = where["path"] if where else ""
    reason = message[: where.start()] if where else message
    place = f"{key}: " if key else ""
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", reason):
        inside = f"{key}.{unknown[1]}" if key else unknown[1]
        return f"{inside}: expected a known field, got an unknown one"
    if missing := re.fullmatch(r"Object missing required field `(.*)`", reason):
        inside = f"{key}.{missing[1]}" if key else missing[1]
        return f"{inside}: expected a value, got none"
    if wrong := re.fullmatch(r"Expected `(.*)`, got `(.*)`", reason):
        return f"{place}expected {wrong[1]}, got {_at(written, key)!r}"
    if invalid := re.fullmatch(r"Invalid value (.*)", reason):
        return f"{place}expected a known kind, got {invalid[1]}"
    return f"{place}{reason}"


def _at(written: Any, key: str) -> Any:
    """Return what stands at ``market.bars[0]``; the whole where the path cannot be followed, as under ``[...]``."""
    value = written
    for name in re.findall(r"[^.\[\]]+", key):
        if isinstance(value, list) and name.isdigit():
            value = value[int(name)]
        elif isinstance(value, Mapping) and name in value:
            value = value[name]
    return value
