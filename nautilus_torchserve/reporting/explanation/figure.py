"""The picture of an explanation: bars for features, a heat map for a window of bars, shaded words for texts."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nautilus_torchserve.reporting.drawing import BUY, EXACT, LINE, SELL, blank_figure
from nautilus_torchserve.reporting.explanation.sentences import Driver, amount, sentences, step_noun, strongest
from nautilus_torchserve.reporting.fragments import caption_line, chart, note_list

_NAME = "explanation"
"""Name of the figure."""
_LEGEND = "Blue raises the output, orange lowers it."
_CLEAR_BLUE, _CLEAR_ORANGE = "rgba(42, 120, 200, 0)", "rgba(221, 107, 32, 0)"
Figures = dict[str, go.Figure]


def explanation_picture(explanation: Mapping[str, Any]) -> tuple[str, Figures]:
    """Return an explanation as HTML and figures.

    Parameters
    ----------
    explanation : mapping
        One of `serving.client.client.ExplanationResponse`.

    Returns
    -------
    (str, dict of Figure)
        HTML, and the figures for its placeholders: see `reporting.frame.render_page`.
    """
    figures: Figures = {}
    if "tokens" in explanation:
        picture = sentence_figure(explanation)
    elif "features" in explanation:
        picture = caption_line(f"Contribution of each feature to the output. {_LEGEND}")
        picture += bar_rows(strongest(explanation), explanation)
    else:
        window = explanation if "window" in explanation else {**explanation["price"], "output": explanation["output"]}
        figures[_NAME] = window_figure(window)
        drawn = _drawn_column(window).capitalize()
        caption = f"{drawn} of the window, and the contribution of each value to the output. {_LEGEND}"
        picture = chart(_NAME, caption, "tall")
        picture += bar_rows(strongest(explanation), explanation)
        for text in (explanation.get("news") or {"texts": ()})["texts"]:
            part = amount(text["attribution"], explanation["output"], sign=True)
            caption = f"Received {text['age_s']:,.0f} s before, weight {text['weight']:.2f}; total contribution {part}."
            picture += sentence_figure({**text, "output": explanation["output"]}, caption)
    return picture + note_list(sentences(explanation), "Summary"), figures


def sentence_figure(explanation: Mapping[str, Any], caption: str = "Contribution of each word to the score.") -> str:
    """Return a text with its tokens shaded by their attributions, as HTML."""
    text, tokens = explanation["text"], explanation["tokens"]
    most = max((abs(token["attribution"]) for token in tokens), default=0.0) or 1.0
    parts, at = [], 0
    for token in tokens:
        if token["start"] < at:  # several tokens of one character
            continue
        share = abs(token["attribution"]) / most
        kind = "up" if token["attribution"] > 0 else "down"
        title = escape(amount(token["attribution"], explanation.get("output", "score"), sign=True))
        parts.append(escape(text[at : token["start"]]))
        parts.append(
            f'<span class="token {kind}" style="--share:{share:.3f}" title="{title}">'
            f"{escape(text[token['start'] : token['end']])}</span>"
        )
        at = token["end"]
    parts.append(escape(text[at:]))
    return caption_line(f"{caption} {_LEGEND}") + f'<p class="tokens">{"".join(parts)}</p>'


def window_figure(explanation: Mapping[str, Any]) -> go.Figure:
    """Draw a column of a window above a heat map of attributions, column by step; the newest step to the right.

    The column is that of the closes, where there is one, else the first.
    """
    values = np.asarray(explanation["attributions"], dtype=np.float64)
    window = np.asarray(explanation["window"], dtype=np.float64)
    columns: list[str] = list(explanation["columns"])
    back = np.arange(-len(values) + 1, 1)
    noun, drawn = step_noun(explanation), _drawn_column(explanation)
    most = float(np.abs(values).max()) or 1.0
    figure = blank_figure()
    figure.add_scatter(
        x=back,
        y=window[:, columns.index(drawn)],
        mode="lines",
        line={"color": LINE, "width": 1.4},
        hovertemplate=f"{escape(drawn)} %{{y:,}}<extra></extra>",
    )
    figure.add_heatmap(
        x=back,
        y=columns,
        z=values.T,
        yaxis="y2",
        zmin=-most,
        zmax=most,
        colorscale=[[0, SELL], [0.5, _CLEAR_ORANGE], [0.5, _CLEAR_BLUE], [1, BUY]],
        showscale=False,
        xgap=1,
        ygap=1,
        hovertemplate=f"%{{y}}, %{{x}} {noun}s: %{{z:+.4f}}<extra></extra>",
    )
    figure.update_layout(
        showlegend=False,
        hovermode="closest",
        xaxis={"anchor": "y2", "title": {"text": f"{noun.capitalize()}s from the newest"}, "nticks": 9},
        yaxis={"domain": [0.58, 1.0], "title": {"text": drawn.capitalize()}, "tickformat": EXACT, "nticks": 5},
        yaxis2={"domain": [0.0, 0.52], "autorange": "reversed", "showgrid": False},
    )
    return figure


def _drawn_column(explanation: Mapping[str, Any]) -> str:
    columns: list[str] = list(explanation["columns"])
    return "close" if "close" in columns else columns[0]


def bar_rows(drivers: Sequence[Driver], explanation: Mapping[str, Any]) -> str:
    """Return one bar per driver, to the right of the middle where it raises the output, as HTML."""
    most = max((abs(driver.attribution) for driver in drivers), default=0.0) or 1.0
    rows = []
    for driver in drivers:
        share = 50 * abs(driver.attribution) / most
        kind = "up" if driver.attribution > 0 else "down"
        detail = f"<small>{escape(driver.detail)}</small>" if driver.detail else ""
        rows.append(
            f'<tr><th scope="row">{escape(driver.name)}{detail}</th>'
            f'<td class="bar"><span class="{kind}" style="--share:{share:.2f}%"></span></td>'
            f'<td class="number">{escape(amount(driver.attribution, explanation["output"], sign=True))}</td></tr>'
        )
    return f'<table class="drivers">{"".join(rows)}</table>'
