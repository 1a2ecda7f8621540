"""The charts of a sentiment model's evaluation, as Plotly figures. Each is None where it would be empty."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from nautilus_torchserve.reporting.drawing import BUY, LINE, MUTED, SELL, blank_figure
from nautilus_torchserve.reporting.evaluation.price_figures import history_figures
from nautilus_torchserve.reporting.fragments import share_span

MODEL = "model"
_LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
_SYMBOLS = ("diamond-open", "square-open")


def figures(evaluation: Mapping[str, Any]) -> dict[str, go.Figure]:
    """Return the figures that have something to show, by name."""
    history = evaluation["history"]
    everything = {
        "scores": scores_figure(evaluation["scores"]),
        "calibration": calibration_figure(evaluation["calibration"]),
        "topics": groups_figure(evaluation["by_topic"]),
        **history_figures([{"fold": 1, **history}], [{"number": 1, "best_epoch": history["best_epoch"]}]),
    }
    return {name: figure for name, figure in everything.items() if figure is not None}


def scores_figure(scores: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """Draw the accuracy of model and baselines with its interval, beside the chance level."""
    names = list(scores)[::-1]  # the first is drawn on top
    middle = [100 * scores[name]["accuracy"] for name in names]
    ends = [scores[name]["accuracy_interval"] for name in names]
    figure = blank_figure()
    figure.add_bar(
        x=middle,
        y=[escape(name) for name in names],
        orientation="h",
        marker={"color": [BUY if name == MODEL else MUTED for name in names]},
        error_x={
            "array": [100 * high - at for at, (_, high) in zip(middle, ends, strict=True)],
            "arrayminus": [at - 100 * low for at, (low, _) in zip(middle, ends, strict=True)],
            "color": LINE,
            "thickness": 1.6,
            "width": 5,
        },
        customdata=[share_span(end) for end in ends],
        hovertemplate="%{y}: %{x:.1f} %<br>%{customdata}<extra></extra>",
    )
    figure.add_vline(100 / 3, line={"color": LINE, "dash": "dot", "width": 1.2})
    figure.update_xaxes(title_text="Accuracy (%), dotted: chance level", range=[0, 102], nticks=6)
    figure.update_yaxes(type="category")
    return figure.update_layout(showlegend=False, bargap=0.45)


def calibration_figure(calibration: Mapping[str, Any]) -> go.Figure | None:
    """Draw the reliability diagram before and after temperature scaling, above the number of sentences in each bin."""
    bins = calibration["after"]["bins"]
    if not bins:
        return None
    figure = blank_figure()
    figure.add_scatter(
        x=[1 / 3, 1],
        y=[1 / 3, 1],
        name="perfect",
        mode="lines",
        hoverinfo="skip",
        line={"color": MUTED, "dash": "dot", "width": 1.2},
    )
    for when, colour, dash in (("before", LINE, "dash"), ("after", BUY, "solid")):
        rows = calibration[when]["bins"]
        figure.add_scatter(
            x=[row["confidence"] for row in rows],
            y=[row["right"] for row in rows],
            name=f"{when} temperature scaling",
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 1.8},
            marker={"size": 7},
            customdata=[row["count"] for row in rows],
            hovertemplate="predicted %{x:.3f}, observed %{y:.3f}<br>%{customdata:,} sentences<extra></extra>",
        )
    figure.add_bar(
        x=[(row["above"] + row["to"]) / 2 for row in bins],
        y=[row["count"] for row in bins],
        width=[0.9 * (row["to"] - row["above"]) for row in bins],
        yaxis="y2",
        showlegend=False,
        marker={"color": MUTED},
        hovertemplate="%{y:,} sentences<extra></extra>",
    )
    return figure.update_layout(
        legend=_LEGEND,
        xaxis={"anchor": "y2", "range": [0.32, 1.01], "title": {"text": "Probability of the predicted class"}},
        yaxis={"domain": [0.34, 1.0], "range": [-0.02, 1.02], "dtick": 0.25, "title": {"text": "Observed"}},
        yaxis2={"domain": [0.0, 0.26], "title": {"text": "Count"}, "nticks": 3, "tickformat": "~s"},
    )


def groups_figure(rows: Sequence[Mapping[str, Any]]) -> go.Figure | None:
    """Draw the accuracy in each group: the model's as bars, the baselines' as marks; the best on top."""
    if not rows:
        return None
    labels = [f"{escape(row['name'])} ({row['sentences']})" for row in rows]
    figure = blank_figure()
    for place, name in enumerate(rows[0]["accuracy"]):
        values = [100 * row["accuracy"][name] for row in rows]
        hover = f"%{{y}}, {escape(name)}: %{{x:.1f}} %<extra></extra>"
        if name == MODEL:
            figure.add_bar(
                x=values,
                y=labels,
                orientation="h",
                name=name,
                marker={"color": BUY, "opacity": 0.75},
                hovertemplate=hover,
            )
        else:
            figure.add_scatter(
                x=values,
                y=labels,
                name=escape(name),
                mode="markers",
                hovertemplate=hover,
                marker={"symbol": _SYMBOLS[place % 2], "size": 8, "color": SELL if place % 2 else LINE},
            )
    figure.update_xaxes(title_text="Accuracy (%)", range=[0, 102], nticks=6)
    figure.update_yaxes(type="category", dtick=1)
    return figure.update_layout(legend=_LEGEND, bargap=0.35, hovermode="closest")
