"""TorchServe's ``config.properties``: read, changed, written."""

from collections.abc import Mapping
from pathlib import Path


def read_properties(path: Path) -> dict[str, str]:
    """Keys and values as TorchServe's own launcher reads them: one line each, ``#`` begins a comment.

    Raises
    ------
    ValueError
        A line is neither blank, comment nor ``key=value``.
    """
    properties = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{path}:{number}: key=value expected, was {text!r}")
        properties[key.strip()] = value.strip()
    return properties


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Write what `read_properties` reads."""
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
