"""TorchServe's ``config.properties``: read, changed, written."""

import os
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


def set_property(path: Path, key: str, value: str) -> None:
    """Change one property of a file, or add it at its end; all other lines, comments too, stay as they are.

    The file is replaced in one step: a server that is started meanwhile reads the old or the new one.
    """
    lines = path.read_text().splitlines()
    places = [index for index, line in enumerate(lines) if line.partition("=")[0].strip() == key]
    for index in reversed(places):
        del lines[index]
    lines.insert(places[0] if places else len(lines), f"{key}={value}")
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text("\n".join(lines) + "\n")
    fresh.chmod(path.stat().st_mode)
    fresh.replace(path)
