"""The frame of every report page: style, script and the charts' data around its sections."""

import json
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

import orjson
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_HERE = Path(__file__).parent


def framed(title: str, body: str, figures: Mapping[str, go.Figure]) -> str:
    """Return a self-contained page: `body` unchanged, and `figures` in the placeholders of `fragments.chart`."""
    return filled(
        "frame.html",
        title=escape(title),
        body=body,
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs() if figures else "",
        figures=_script_json(figures),
    )


def filled(template: str, **pieces: str) -> str:
    """Return a template of this package filled with its pieces, which are HTML."""
    return Template((_HERE / template).read_text(encoding="utf-8")).substitute(pieces)


def replace_files(files: Mapping[Path, bytes]) -> None:
    """Move every file into place, none before all are written."""
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in files}
    try:
        for path, content in files.items():
            temporary[path].write_bytes(content)
        for path, written in temporary.items():
            written.replace(path)
    finally:
        for remainder in temporary.values():
            remainder.unlink(missing_ok=True)


def _script_json(figures: Mapping[str, go.Figure]) -> str:
    """Return figures as JSON that cannot close the script element that holds it."""
    plain = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    return orjson.dumps(plain).decode().replace("<", "\\u003c")
