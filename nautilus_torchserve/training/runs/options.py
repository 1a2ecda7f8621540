"""Options that every training's command line shares: single values, and a device."""

import json
from collections.abc import Collection

import torch

from nautilus_torchserve.training.runs.config import BadConfig


def read_setting(text: str, sections: Collection[str]) -> tuple[str, str, object]:
    """Split ``fit.epochs=5`` into section, name and value, which is parsed as JSON where it can be, else a text.

    Raises
    ------
    BadConfig
        Something else, or no such section.
    """
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
