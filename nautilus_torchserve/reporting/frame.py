"""The frame of every report page: heading, style, script and the charts' data around its sections."""

import json
import os
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from string import Template

import orjson
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

PAGE = "index.html"
_HERE = Path(__file__).parent
_NO_SCRIPT = '<noscript><p class="banner">The charts need JavaScript; the tables do not.</p></noscript>'


def render_page(
    title: str,
    lead: str,
    notices: str,
    cards: Iterable[str],
    sections: Iterable[str],
    figures: Mapping[str, go.Figure],
) -> str:
    """Return a self-contained page.

    Parameters
    ----------
    title, lead : str
        The heading and the line below it, as text.
    notices, cards, sections : str or iterable of str
        HTML of `reporting.fragments`: banners and verdict, key figures, sections.
    figures : mapping
        Name -> the figure for the placeholder `fragments.chart` of that name.
    """
    template = Template((_HERE / "frame.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        lead=escape(lead),
        notices=notices,
        cards="\n".join(cards),
        sections="\n".join((_NO_SCRIPT, *sections) if figures else sections),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs() if figures else "",
        figures=_script_json(figures),
    )


def write_page(folder: Path, html: str, files: Mapping[str, bytes]) -> Path:
    """Write a page and the files beside it, none into its place before all are complete; return the page.

    The folder is made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contents = {folder / PAGE: html.encode(), **{folder / name: content for name, content in files.items()}}
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in contents}
    try:
        for path, content in contents.items():
            temporary[path].write_bytes(content)
        for path, written in temporary.items():
            written.replace(path)
    finally:
        for remainder in temporary.values():
            remainder.unlink(missing_ok=True)
    return folder / PAGE


def _script_json(figures: Mapping[str, go.Figure]) -> str:
    """Return figures as JSON that cannot close the script element that holds it."""
    plain = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    return orjson.dumps(plain).decode().replace("<", "\\u003c")
