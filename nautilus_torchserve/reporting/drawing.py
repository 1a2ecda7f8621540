"""Shared by the charts of all reports: colours, the legend, the empty figure, the reliability diagram.

Ink and grid get their colours in the browser (`page.js`), light or dark; only what carries a
meaning has one here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

BUY, SELL, LINE, MUTED = "#2a78c8", "#dd6b20", "#6b7684", "#9aa4b1"
DOTTED = {"color": MUTED, "dash": "dot", "width": 1.2}
"""Line of a reference: perfect calibration, a coin."""
LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
"""Above the figure."""
EXACT = ",.12~r"
"""Format of prices and amounts on axes: a balance of 10,000 BTC may change by thousandths."""
_WHOLE = (0.0, 1.0)


def blank_figure() -> go.Figure:
    """Return an empty figure without Plotly's default template, which would weigh more than the data."""
    return go.Figure(layout=go.Layout(template=go.layout.Template(), margin={"l": 64, "r": 16, "t": 12, "b": 48}))


def reliability_figure(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    lowest: float,
    highest: float = 1.0,
    observed_range: tuple[float, float] = _WHOLE,
    subject: str = "predicted class",
    unit: str = "predictions",
) -> go.Figure | None:
    """Draw reliability diagrams, above the counts of the last one's bins; None where that has none.

    Parameters
    ----------
    curves : mapping
        Name -> bins, as `scores.classification.Calibration.rows` returns them. The last is the model as it is served.
    lowest, highest : float
        The probabilities shown.
    observed_range : (float, float)
        The observed frequencies shown.
    subject : str
        Subject of the probability, for the axis title.
    unit : str
        What is counted.
    """
    served = list(curves)[-1]
    bins = [row for row in curves[served] if row["count"]]
    if not bins:
        return None
    figure = blank_figure()
    figure.add_scatter(
        x=[lowest, highest], y=[lowest, highest], name="perfect", mode="lines", hoverinfo="skip", line=DOTTED
    )
    for name, rows in curves.items():
        filled = [row for row in rows if row["count"]]
        figure.add_scatter(
            x=[row["confidence"] for row in filled],
            y=[row["right"] for row in filled],
            name=name,
            mode="lines+markers",
            line={"color": BUY, "width": 1.8} if name == served else {"color": LINE, "width": 1.8, "dash": "dash"},
            marker={"size": 7},
            customdata=[row["count"] for row in filled],
            hovertemplate=f"predicted %{{x:.3f}}, observed %{{y:.3f}}<br>%{{customdata:,}} {unit}<extra></extra>",
        )
    figure.add_bar(
        x=[(row["above"] + row["to"]) / 2 for row in bins],
        y=[row["count"] for row in bins],
        width=[0.9 * (row["to"] - row["above"]) for row in bins],
        yaxis="y2",
        showlegend=False,
        marker={"color": MUTED},
        hovertemplate=f"%{{y:,}} {unit}<extra></extra>",
    )
    spare_x, spare_y = 0.02 * (highest - lowest), 0.02 * (observed_range[1] - observed_range[0])
    return figure.update_layout(
        showlegend=len(curves) > 1,
        legend=LEGEND,
        xaxis={
            "anchor": "y2",
            "range": [lowest - spare_x, highest + spare_x],
            "title": {"text": f"Probability of the {subject}"},
        },
        yaxis={
            "domain": [0.34, 1.0],
            "range": [observed_range[0] - spare_y, observed_range[1] + spare_y],
            "title": {"text": "Observed frequency"},
            **({"dtick": 0.25} if observed_range == _WHOLE else {"nticks": 6}),
        },
        yaxis2={"domain": [0.0, 0.26], "title": {"text": "Count"}, "nticks": 3, "tickformat": "~s"},
    )
