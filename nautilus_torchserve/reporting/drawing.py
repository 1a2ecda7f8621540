"""Shared by the charts of all reports: colours, the empty figure, the reliability diagram.

Ink and grid get their colours in the browser (`page.js`), light or dark; only what carries a
meaning has one here.
"""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

BUY, SELL, LINE, MUTED = "#2a78c8", "#dd6b20", "#6b7684", "#9aa4b1"
_WHOLE = (0.0, 1.0)


def blank_figure() -> go.Figure:
    """Return an empty figure without Plotly's default template, which would weigh more than the data."""
    return go.Figure(layout=go.Layout(template=go.layout.Template(), margin={"l": 64, "r": 16, "t": 12, "b": 48}))


def reliability_figure(
    confidence: NDArray[np.float64],
    observed: NDArray[np.float64],
    counts: NDArray[np.int64],
    edges: NDArray[np.float64],
    lowest: float,
    highest: float = 1.0,
    observed_range: tuple[float, float] = _WHOLE,
    subject: str = "predicted class",
) -> go.Figure:
    """Draw a reliability diagram of the bins that are not empty, above their counts.

    Parameters
    ----------
    confidence, observed : float64 [m]
        Mean predicted probability, and the observed frequency.
    counts : int64 [m]
        Predictions in each bin.
    edges : float64 [m, 2]
        Limits of each bin.
    lowest, highest : float
        The probabilities shown.
    observed_range : (float, float)
        The observed frequencies shown.
    subject : str
        Subject of the probability, for the axis title.
    """
    width = edges[:, 1] - edges[:, 0]
    figure = blank_figure()
    figure.add_scatter(
        x=[lowest, highest],
        y=[lowest, highest],
        name="Perfect",
        mode="lines",
        line={"color": MUTED, "dash": "dot", "width": 1.2},
    )
    figure.add_scatter(
        x=confidence,
        y=observed,
        name="Model",
        mode="lines+markers",
        line={"color": BUY, "width": 1.8},
        marker={"size": 7},
        customdata=counts,
        hovertemplate="predicted %{x:.3f}, observed %{y:.3f}<br>%{customdata:,} predictions<extra></extra>",
    )
    figure.add_bar(
        x=edges.mean(axis=1),
        y=counts,
        width=0.9 * width,
        yaxis="y2",
        marker={"color": MUTED},
        hovertemplate="%{y:,} predictions<extra></extra>",
    )
    spare_x, spare_y = 0.02 * (highest - lowest), 0.02 * (observed_range[1] - observed_range[0])
    figure.update_layout(
        showlegend=False,
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
    return figure
