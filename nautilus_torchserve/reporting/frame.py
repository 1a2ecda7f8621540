"""What every report has around its sections: the frame of the page, its style and script, its charts' data."""

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
    """A page that is whole in itself: `body` as it is, and `figures` where `fragments.chart` left their places."""
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
    """A template of this room with its pieces, which are HTML, in their places."""
    return Template((_HERE / template).read_text(encoding="utf-8")).substitute(pieces)


def replace_files(files: Mapping[Path, bytes]) -> None:
    """Put every file in its place, none before all are written."""
    beside = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in files}
    try:
        for path, content in files.items():
            beside[path].write_bytes(content)
        for path, whole in beside.items():
            whole.replace(path)
    finally:
        for left in beside.values():
            left.unlink(missing_ok=True)


def _script_json(figures: Mapping[str, go.Figure]) -> str:
    """Figures as JSON that cannot end the script element it stands in."""
    plain = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    return orjson.dumps(plain).decode().replace("<", "\\u003c")
