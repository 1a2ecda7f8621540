"""Shared by the evaluation pages of all models."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import orjson

from nautilus_torchserve.reporting.frame import replace_files

PAGE = "index.html"
EVALUATION = "evaluation.json"


def write_page(evaluation: Mapping[str, Any], html: str, folder: Path) -> Path:
    """Write a page and its numbers as JSON, each moved into place once both are complete; return the page."""
    numbers = orjson.dumps(evaluation, option=orjson.OPT_INDENT_2)
    folder.mkdir(parents=True, exist_ok=True)
    replace_files({folder / EVALUATION: numbers, folder / PAGE: html.encode()})
    return folder / PAGE


def verdict(evaluation: Mapping[str, Any], note: str = "") -> str:
    """Return the box that says whether the model beats every baseline."""
    beats = evaluation["beats_baselines"]
    headline = "Better than every baseline" if beats else "Not shown to be better than the baselines"
    kind = "verdict good" if beats else "verdict"
    return f'<div class="{kind}" role="note"><strong>{headline}{note}</strong><p>{escape(evaluation["edge"])}</p></div>'
