"""P&L against inference latency, as a Plotly figure."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from nautilus_torchserve.reporting.drawing import BUY, MUTED, blank_figure

_ZERO_LEFT_BY = 0.6
"""Distance of a latency of 0 from the lowest one above it, in decades, as 0 has no logarithm."""


def latency_sweep_figure(runs: Sequence[Mapping[str, Any]], labels: Sequence[str], currency: str) -> go.Figure:
    """Draw the P&L after and before fees at each latency, on a logarithmic axis that begins with 0 where that was run.

    Parameters
    ----------
    runs : sequence of mapping
        ``latency_ns`` (increasing), ``pnl``, ``fees``, ``orders``.
    labels : sequence of str
        The latencies as text.
    """
    at = positions(np.array([run["latency_ns"] for run in runs], dtype=np.int64))
    after = np.array([run["pnl"] for run in runs])
    fees, orders = (np.array([run[name] for run in runs]) for name in ("fees", "orders"))
    figure = blank_figure()
    for name, values, look in (
        ("Before fees", after + fees, {"color": MUTED, "width": 1.4, "dash": "dot"}),
        ("After fees", after, {"color": BUY, "width": 2}),
    ):
        figure.add_scatter(
            x=at,
            y=values,
            name=name,
            mode="lines+markers",
            line=look,
            marker={"size": 8, "color": look["color"]},
            customdata=np.stack([np.array(labels, dtype=object), orders.astype(object)], axis=1),
            hovertemplate="%{customdata[0]}: %{y:,.2f}, %{customdata[1]:,} orders",
        )
    figure.add_hline(y=0, line={"color": MUTED, "width": 1})
    edge = 0.06 * (at[-1] - at[0])
    figure.update_xaxes(
        title_text="Inference latency (log scale, 0 offset)"
        if runs[0]["latency_ns"] == 0
        else "Inference latency (log scale)",
        range=[at[0] - edge, at[-1] + edge],
        tickvals=at,
        ticktext=list(labels),
    )
    figure.update_yaxes(title_text=f"P&L ({escape(currency)})", tickformat=",~r")
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}, hovermode="closest")
    return figure


def positions(latency_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the axis positions of latencies [n], increasing: their log10, and for 0 a little left of the next."""
    above = np.log10(latency_ns[latency_ns > 0].astype(np.float64))
    return above if len(above) == len(latency_ns) else np.concatenate([[above[0] - _ZERO_LEFT_BY], above])
