"""The charts of a price model's evaluation, as Plotly figures. Each is None where it would be empty."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from nautilus_torchserve.reporting.drawing import (
    BUY,
    DOTTED,
    LEGEND,
    LINE,
    MUTED,
    SELL,
    blank_figure,
    reliability_figure,
)
from nautilus_torchserve.reporting.evaluation.price_tables import MODEL, Scores, error_gain
from nautilus_torchserve.reporting.fragments import share_span

_SYMBOLS = ("diamond-open", "square-open", "triangle-up-open", "cross-thin-open")
_SPREAD = 0.14
"""Distance on the axis between the markers of one fold."""


def figures(evaluation: Mapping[str, Any]) -> dict[str, go.Figure]:
    """Return the figures that have something to show, by name."""
    everything = {
        "direction": direction_figure(evaluation["folds"], evaluation["scores"]),
        "gains": gains_figure(evaluation["folds"]),
        "sign": sign_figure(evaluation["calibration"]["sign"]),
        "scale": scale_figure(evaluation["calibration"]["scale"]),
        "columns": columns_figure(evaluation["importance"]),
        "steps": steps_figure(evaluation["importance_steps"]),
        **history_figures(evaluation["history"], evaluation["folds"]),
    }
    return {name: figure for name, figure in everything.items() if figure is not None}


def direction_figure(folds: Sequence[Mapping[str, Any]], together: Scores) -> go.Figure | None:
    """Draw the directional accuracy of each fold and of all together, the model's with its interval."""
    groups = [*((f"Fold {fold['number']}", fold["scores"]) for fold in folds), ("All", together)]
    names = [name for name in together if any(scores[name]["directional_accuracy"] is not None for _, scores in groups)]
    if not names:
        return None
    figure = blank_figure()
    figure.add_scatter(
        x=[-0.5, len(groups) - 0.5],
        y=[50, 50],
        name="a coin",
        mode="lines",
        line=DOTTED,
        hoverinfo="skip",
    )
    for place, name in enumerate(names):
        scores = [scores[name] for _, scores in groups]
        beside = _SPREAD * (place - (len(names) - 1) / 2)
        figure.add_scatter(
            x=[index + beside for index in range(len(groups))],
            y=[_percent(score["directional_accuracy"]) for score in scores],
            name=escape(name),
            mode="markers",
            customdata=[share_span(score["directional_interval"]) for score in scores],
            hovertemplate=f"{escape(name)}: %{{y:.2f}}%<br>%{{customdata}}<extra></extra>",
            **_direction_look(name, place, scores),
        )
    figure.update_xaxes(
        tickvals=list(range(len(groups))), ticktext=[name for name, _ in groups], range=[-0.5, len(groups) - 0.5]
    )
    figure.update_yaxes(title_text="Directional accuracy (%)", nticks=7)
    return figure.update_layout(legend=LEGEND, hovermode="closest")


def gains_figure(folds: Sequence[Mapping[str, Any]]) -> go.Figure | None:
    """Draw the reduction of each fold's error against the fold's best baseline."""
    figure = blank_figure()
    for key, name, colour in (("rmse_bps", "RMSE", BUY), ("mae_bps", "MAE", LINE)):
        gains = [(fold["number"], error_gain(fold["scores"], key)) for fold in folds]
        known = [(number, *gain) for number, gain in gains if gain is not None]
        if known:
            figure.add_bar(
                x=[f"Fold {number}" for number, _, _ in known],
                y=[gain for _, _, gain in known],
                name=name,
                marker={"color": colour},
                customdata=[escape(baseline) for _, baseline, _ in known],
                hovertemplate=f"{name} %{{y:+.4f}} bps vs. %{{customdata}}<extra></extra>",
            )
    if not figure.data:
        return None
    _zero_line(figure, "h")
    figure.update_yaxes(title_text="Gain (bps)", tickformat="~g", nticks=7)
    return figure.update_layout(legend=LEGEND, barmode="group", bargap=0.4)


def sign_figure(bins: Sequence[Mapping[str, Any]]) -> go.Figure | None:
    """Draw the reliability diagram of the probability that the sign is right, over the probabilities that occur."""
    filled = [row for row in bins if row["count"]]
    if not filled:
        return None
    observed = [row["right"] for row in filled]
    lowest = min(0.5, filled[0]["above"])
    highest = max(filled[-1]["to"], 0.51)
    low, high = min(lowest, *observed), max(highest, *observed)
    spare = 0.05 * (high - low)
    return reliability_figure(
        {"model": filled}, lowest, highest, (low - spare, high + spare), "predicted sign", "forecasts"
    )


def scale_figure(levels: Sequence[Mapping[str, Any]]) -> go.Figure | None:
    """Draw the coverage of central intervals over their level."""
    known = [row for row in levels if row["covered"] is not None]
    if not known:
        return None
    figure = blank_figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=DOTTED, hoverinfo="skip")
    figure.add_scatter(
        x=[row["level"] for row in known],
        y=[row["covered"] for row in known],
        mode="lines+markers",
        line={"color": BUY, "width": 1.8},
        marker={"size": 7},
        hovertemplate="%{x:.0%} interval: coverage %{y:.2%}<extra></extra>",
    )
    figure.add_bar(
        x=[row["level"] for row in known],
        y=[100 * (row["covered"] - row["level"]) for row in known],
        width=0.03,
        yaxis="y2",
        marker={"color": MUTED},
        hovertemplate="%{y:+.2f} percentage points<extra></extra>",
    )
    axis = {"range": [-0.02, 1.02], "tickformat": ".0%", "dtick": 0.25}
    return figure.update_layout(
        showlegend=False,
        xaxis={**axis, "anchor": "y2", "title": {"text": "Nominal coverage"}},
        yaxis={**axis, "domain": [0.34, 1.0], "title": {"text": "Empirical coverage"}},
        yaxis2={"domain": [0.0, 0.26], "title": {"text": "Error (pp)"}, "nticks": 4},
    )


def columns_figure(rows: Sequence[Mapping[str, Any]]) -> go.Figure | None:
    """Draw the permutation importance of each column, the largest on top."""
    known = [row for row in rows if row["nll_rise"] is not None]
    if not known:
        return None
    figure = blank_figure()
    figure.add_bar(
        x=[row["nll_rise"] for row in known],
        y=[escape(row["column"]) for row in known],
        orientation="h",
        marker={"color": [_bar_colour(row["nll_rise"]) for row in known]},
        hovertemplate="%{y}: %{x:+.5f} nats per bar<extra></extra>",
    )
    _zero_line(figure, "v")
    figure.update_xaxes(title_text="Increase in loss (nats per bar)", nticks=6, tickformat="~g")
    figure.update_yaxes(autorange="reversed", type="category", dtick=1)
    return figure.update_layout(showlegend=False, bargap=0.3)


def steps_figure(rows: Sequence[Mapping[str, Any]]) -> go.Figure | None:
    """Draw the permutation importance of each span of time steps, in the order given."""
    known = [row for row in rows if row["nll_rise"] is not None]
    if not known:
        return None
    figure = blank_figure()
    figure.add_bar(
        x=[escape(row["steps"]) for row in known],
        y=[row["nll_rise"] for row in known],
        marker={"color": [_bar_colour(row["nll_rise"]) for row in known]},
        hovertemplate="%{x}: %{y:+.5f} nats per bar<extra></extra>",
    )
    _zero_line(figure, "h")
    figure.update_xaxes(type="category", title_text="Bars of the window")
    figure.update_yaxes(title_text="Increase in loss (nats per bar)", nticks=6, tickformat="~g")
    return figure.update_layout(showlegend=False, bargap=0.3)


def history_figures(histories: Sequence[Mapping[str, Any]], folds: Sequence[Mapping[str, Any]]) -> dict[str, go.Figure]:
    """Draw one learning curve per fold, all over the same range of losses, with the epoch that was kept."""
    kept = {fold["number"]: fold["best_epoch"] for fold in folds}
    losses = [
        loss
        for history in histories
        for loss in (*history["train_loss"], *history["validation_loss"])
        if loss is not None
    ]
    if not losses:
        return {}
    low, high = min(losses), max(losses)
    spare = 0.06 * (high - low) or 0.01
    return {
        f"history-{history['fold']}": _history_figure(history, kept.get(history["fold"]), (low - spare, high + spare))
        for history in histories
        if history["validation_loss"]
    }


def _history_figure(history: Mapping[str, Any], best_epoch: int | None, shown: tuple[float, float]) -> go.Figure:
    figure = blank_figure()
    for key, name, look in (
        ("train_loss", "training", {"color": LINE, "dash": "dot", "width": 1.5}),
        ("validation_loss", "validation", {"color": BUY, "width": 1.8}),
    ):
        losses = history[key]
        figure.add_scatter(
            x=list(range(1, len(losses) + 1)),
            y=losses,
            name=name,
            mode="lines" if len(losses) > 1 else "markers",
            line=look,
            marker={"color": look["color"]},
            hovertemplate=f"epoch %{{x}}, {name}: %{{y:.5f}}<extra></extra>",
        )
    validation = history["validation_loss"]
    if best_epoch and best_epoch <= len(validation):
        figure.add_scatter(
            x=[best_epoch],
            y=[validation[best_epoch - 1]],
            name="kept",
            mode="markers",
            marker={"color": SELL, "size": 9, "symbol": "diamond"},
            hovertemplate=f"epoch {best_epoch}, kept: %{{y:.5f}}<extra></extra>",
        )
    figure.update_xaxes(title_text="Epoch", nticks=6, tickformat="d")
    figure.update_yaxes(title_text="Loss", range=shown, nticks=6)
    return figure.update_layout(legend=LEGEND)


def _direction_look(name: str, place: int, scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if name != MODEL:
        return {"marker": {"color": LINE, "size": 8, "symbol": _SYMBOLS[place % len(_SYMBOLS)]}}
    up, down = [], []
    for score in scores:
        middle, ends = score["directional_accuracy"], score["directional_interval"]
        known = middle is not None and ends is not None and None not in ends
        down.append(100 * (middle - ends[0]) if known else 0.0)
        up.append(100 * (ends[1] - middle) if known else 0.0)
    return {
        "marker": {"color": BUY, "size": 9},
        "error_y": {"array": up, "arrayminus": down, "color": BUY, "thickness": 1.6, "width": 5},
    }


def _zero_line(figure: go.Figure, way: str) -> None:
    add = figure.add_hline if way == "h" else figure.add_vline
    add(0, line={"color": MUTED, "width": 1})


def _bar_colour(rise: float) -> str:
    return BUY if rise > 0 else MUTED


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
