"""The charts of a backtest's report, as Plotly figures.

Times on an axis are milliseconds since the epoch, which Plotly reads as UTC.
"""

import math
from html import escape

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from nautilus_torchserve.reporting.backtest.data import ReportData, probabilities
from nautilus_torchserve.reporting.backtest.summary import confident, outcome_calibration
from nautilus_torchserve.reporting.backtest.thinning import line_points, strongest_points
from nautilus_torchserve.reporting.drawing import BUY, EXACT, LEGEND, LINE, SELL, blank_figure, reliability_figure
from nautilus_torchserve.scores.latency import percentiles_ms

_LATENCY_BINS = 60
_LOG_ABOVE = 4.0
"""A largest latency of this many medians or more makes the histogram's axis logarithmic."""


def price_figure(data: ReportData) -> go.Figure | None:
    """Draw the price, the confident BUY and SELL predictions and the fills; None without trades."""
    if not len(data.ts_ns):
        return None
    figure = blank_figure()
    kept = line_points(data.ts_ns, data.price)
    figure.add_scatter(
        x=_ms(data.ts_ns[kept]), y=data.price[kept], name="Price", mode="lines", line={"color": LINE, "width": 1.1}
    )
    for side, colour in (("buy", BUY), ("sell", SELL)):
        _add_predictions(figure, data, side, colour)
    for side, colour, symbol in (("BUY", BUY, "triangle-up"), ("SELL", SELL, "triangle-down")):
        _add_fills(figure, data, side, colour, symbol)
    figure.update_yaxes(title_text="Price", tickformat=EXACT, exponentformat="none")
    return _over_time(figure, data)


def equity_figure(data: ReportData) -> go.Figure | None:
    """Draw the equity above its drawdown on one time axis; None without equity."""
    if data.equity.empty:
        return None
    ts_ns = data.equity["ts_ns"].to_numpy(dtype=np.int64)
    equity = data.equity["equity"].to_numpy(dtype=np.float64)
    below = data.equity["drawdown"].to_numpy(dtype=np.float64)
    figure = blank_figure()
    for name, values, axis, fill in (("Equity", equity, "y", "none"), ("Drawdown", below, "y2", "tozeroy")):
        kept = line_points(ts_ns, values)
        figure.add_scatter(
            x=_ms(ts_ns[kept]),
            y=values[kept],
            name=name,
            yaxis=axis,
            mode="lines" if len(kept) > 1 else "markers",
            line={"color": BUY if fill == "none" else SELL, "width": 1.4},
            fill=fill,
            fillcolor="rgba(221, 107, 32, 0.18)",
            hovertemplate=f"%{{y:{EXACT}}}",
        )
    currency = escape(data.currency)
    figure.update_layout(
        showlegend=False,
        yaxis={"domain": [0.38, 1.0], "title": {"text": f"Equity ({currency})"}, "tickformat": EXACT},
        yaxis2={"domain": [0.0, 0.3], "title": {"text": "Drawdown"}, "tickformat": EXACT, "nticks": 4},
        xaxis={"anchor": "y2"},
    )
    return _over_time(figure, data)


def calibration_figure(data: ReportData) -> go.Figure | None:
    """Draw the reliability diagram above the bins' counts; None before any outcome is known."""
    lowest = 1.0 / len(data.class_names)  # no predicted class has less
    return reliability_figure({"model": outcome_calibration(data).rows()}, lowest)


def latency_figure(data: ReportData) -> go.Figure | None:
    """Draw the histogram of the measured latency with its percentiles; None without measurements."""
    latency_ns = data.predictions["latency_ns"].to_numpy(dtype=np.float64)
    values = latency_ns[np.isfinite(latency_ns) & (latency_ns > 0)] / 1e6
    if not len(values):
        return None
    marks = percentiles_ms(values * 1e6)
    low, high = float(values.min()), float(values.max())
    logarithmic = high > _LOG_ABOVE * float(np.median(values))
    if low == high:
        low, high = 0.5 * low, 1.5 * high
    edges = np.geomspace(low, high, _LATENCY_BINS + 1) if logarithmic else np.linspace(low, high, _LATENCY_BINS + 1)
    edges[0], edges[-1] = low, high  # geomspace rounds, and an extreme would fall out
    counts, _ = np.histogram(values, edges)
    figure = blank_figure()
    figure.add_scatter(
        x=edges,
        y=np.append(counts, counts[-1]),
        mode="lines",
        line={"shape": "hv", "width": 1, "color": BUY},
        fill="tozeroy",
        fillcolor="rgba(42, 120, 200, 0.35)",
        hovertemplate="from %{x:.3f} ms: %{y:,}<extra></extra>",
    )
    top = int(counts.max())
    for height, (name, value) in zip((1.36, 1.22, 1.08), marks.items(), strict=True):
        _add_mark(figure, f"{name} {value:.4g} ms", value, height * top)
    figure.update_xaxes(title_text="Inference latency (ms)", **_latency_axis(low, high, marks["p99"], logarithmic))
    figure.update_yaxes(title_text="Predictions", tickformat="~s", range=[0, 1.44 * top])
    figure.update_layout(showlegend=False)
    return figure


def _over_time(figure: go.Figure, data: ReportData) -> go.Figure:
    """Lay the time axis over the trades' period, so that all charts of a report line up."""
    ends = data.ts_ns if len(data.ts_ns) else data.equity["ts_ns"].to_numpy(dtype=np.int64)
    start, end = _ms(ends[[0, -1]])
    edge = max(0.01 * (end - start), 1.0)
    figure.update_xaxes(range=[start - edge, end + edge])
    figure.update_xaxes(type="date", title_text="Time (UTC)", hoverformat="%Y-%m-%d %H:%M:%S.%L", nticks=9)
    figure.update_layout(legend=LEGEND, hovermode="closest")
    return figure


def _add_predictions(figure: go.Figure, data: ReportData, side: str, colour: str) -> None:
    chosen = confident(data, side)
    ts_ns = data.predictions["ts_event"].to_numpy(dtype=np.int64)[chosen]
    probability = probabilities(data)[chosen].max(axis=1)  # of the predicted class
    kept = strongest_points(ts_ns, probability, data.ts_ns[0], data.ts_ns[-1])
    if not len(kept):
        return
    seen = np.maximum(np.searchsorted(data.ts_ns, ts_ns[kept], side="right") - 1, 0)
    figure.add_scatter(
        x=_ms(ts_ns[kept]),
        y=data.price[seen],
        name=f"{side.upper()} predicted",
        mode="markers",
        marker={"color": colour, "size": 5, "opacity": 0.3},
        customdata=probability[kept],
        hovertemplate="%{x}<br>%{y:,} at probability %{customdata:.3f}",
    )


def _add_fills(figure: go.Figure, data: ReportData, side: str, colour: str, symbol: str) -> None:
    fills = data.fills[data.fills["side"] == side]
    ts_ns = fills["ts_ns"].to_numpy(dtype=np.int64)
    quantity = fills["quantity"].to_numpy(dtype=np.float64)
    kept = strongest_points(ts_ns, quantity, data.ts_ns[0], data.ts_ns[-1])
    if not len(kept):
        return
    figure.add_scatter(
        x=_ms(ts_ns[kept]),
        y=fills["price"].to_numpy(dtype=np.float64)[kept],
        name=f"{side} filled",
        mode="markers",
        marker={"color": colour, "size": 9, "symbol": symbol, "line": {"color": "#ffffff", "width": 0.8}},
        customdata=quantity[kept],
        hovertemplate="%{x}<br>%{customdata:,} at %{y:,}",
    )


def _add_mark(figure: go.Figure, text: str, at: float, height: float) -> None:
    """Draw a vertical line with its label to the right of its top."""
    figure.add_scatter(
        x=[at, at],
        y=[0, height],
        mode="lines+text",
        text=["", f" {text}"],
        textposition="middle right",
        line={"color": SELL, "width": 1.4},
        hoverinfo="skip",
        cliponaxis=False,
    )


def _latency_axis(low: float, high: float, last: float, logarithmic: bool) -> dict[str, object]:
    """Return a range with space for the last percentile's label, and ticks at 1, 2 and 5."""
    if not logarithmic:
        return {"range": [low, max(high, low + (last - low) / 0.7)]}
    start = math.log10(low)
    end = max(math.log10(high), start + (math.log10(last) - start) / 0.7)
    ticks = [digit * 10.0**power for power in range(math.floor(start), math.ceil(end) + 1) for digit in (1, 2, 5)]
    shown = [tick for tick in ticks if start <= math.log10(tick) <= end]
    if len(shown) > 7:
        shown = [tick for tick in shown if math.log10(tick).is_integer()]
    return {"type": "log", "range": [start, end], "tickvals": shown, "ticktext": [f"{tick:g}" for tick in shown]}


def _ms(ts_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    return ts_ns / 1e6
