"""Writes the report of a latency sweep: ``index.html``, which needs no other file, and ``latency_sweep.json``."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import plotly.graph_objects as go
from numpy.typing import NDArray

from nautilus_torchserve.reporting.drawing import BUY, EXACT, LEGEND, MUTED, blank_figure
from nautilus_torchserve.reporting.fragments import (
    amount,
    banner,
    card,
    chart,
    columns,
    label_table,
    number,
    section,
    share,
    table,
    verdict,
)
from nautilus_torchserve.reporting.frame import render_page, write_page
from nautilus_torchserve.reporting.sweeps.grid_page import charged, subject_lead, subject_table

_ZERO_LEFT_BY = 0.6
"""Distance of a latency of 0 from the lowest one above it, in decades, as 0 has no logarithm."""
SWEEP = "latency_sweep.json"
_SIMULATED = (
    "These prices were generated, not recorded from an exchange: the cost of latency here says nothing about a real "
    "market."
)
_MS = 1e6


def write_latency_sweep(
    sweep: Mapping[str, Any], labels: Sequence[str], settings: Mapping[str, str], folder: Path
) -> Path:
    """Write the page and the same numbers as JSON into `folder`, which is made if missing.

    Parameters
    ----------
    sweep : mapping
        Plain JSON types:

        ``model``, ``version``, ``digest``, ``instrument_ids``, ``sources``, ``simulated``, ``sample``, ``currency``
        ``runs``
            At least two, the latency increasing: ``latency_ns``, ``pnl``, ``fees``, ``max_drawdown``, ``ruined``,
            ``orders``, ``fills``, ``mean_age_ns`` and ``too_old`` (share; both None without predictions), ``failed``,
            ``gave_up``.
        ``millisecond_cost``
            ``from_ns``, ``to_ns``, ``per_ms``: the line through the first two runs.
    labels : sequence of str
        The latencies as text.
    settings : mapping
        Settings that all runs share, as label and value.

    Returns
    -------
    Path
        ``folder/index.html``.
    """
    numbers = orjson.dumps({**sweep, "settings": dict(settings)}, option=orjson.OPT_INDENT_2)
    return write_page(folder, _render(sweep, labels, settings), {SWEEP: numbers})


def latency_cost(sweep: Mapping[str, Any], labels: Sequence[str]) -> tuple[str, str]:
    """Return the cost of a millisecond of latency as a sentence, and a note on its estimation."""
    per_ms, currency = sweep["millisecond_cost"]["per_ms"], sweep["currency"]
    between = f"between {labels[0]} and {labels[1]}"
    if per_ms == 0:
        cost = f"Latency costs nothing {between}: both runs end with the same P&L."
    else:
        verb = "costs" if per_ms > 0 else "gains"
        cost = f"Each millisecond of latency {verb} {amount(abs(per_ms))} {currency} {between}."
    estimation = (
        "Slope of the straight line through these two runs of one strategy on one data set. Both P&Ls are sums over "
        "many fills, so the difference is noisy. For higher latencies see the chart."
    )
    return cost, estimation


def _render(sweep: Mapping[str, Any], labels: Sequence[str], settings: Mapping[str, str]) -> str:
    caption = (
        "Each point is one backtest with a constant latency from event to order; all other settings are equal. The "
        "dotted line is the P&L before fees: the lines converge where fewer orders were placed."
    )
    return render_page(
        title=f"{sweep['model']} {sweep['version']}: P&L against inference latency",
        lead=subject_lead(sweep),
        notices=_notices(sweep, labels) + verdict(*latency_cost(sweep, labels)),
        cards=_key_figures(sweep, labels),
        sections=[
            section("P&L against inference latency", chart("latency-sweep", caption, "tall")),
            section("All runs", _runs_table(sweep, labels)),
            section("Configuration", columns(subject_table(sweep), label_table("Settings", settings))),
        ],
        figures={"latency-sweep": latency_sweep_figure(sweep["runs"], labels, sweep["currency"])},
    )


def _notices(sweep: Mapping[str, Any], labels: Sequence[str]) -> str:
    banners = banner("SIMULATED MARKET.", _SIMULATED) if sweep["simulated"] else ""
    for key, headline, outcome in (
        ("gave_up", "THE MODEL STOPPED ANSWERING", "these runs are not comparable"),
        ("ruined", "RUINED: equity fell to zero or below", "trading stopped"),
    ):
        latencies = [label for label, run in zip(labels, sweep["runs"], strict=True) if run[key]]
        if latencies:
            banners += banner(headline, f"in the runs with a latency of {', '.join(latencies)}: {outcome}.")
    return banners


def _key_figures(sweep: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    first, last = sweep["runs"][0], sweep["runs"][-1]
    best = max(range(len(labels)), key=lambda index: sweep["runs"][index]["pnl"])
    currency = sweep["currency"]
    return [
        card(f"P&L at {labels[0]}", amount(first["pnl"], sign=True), f"{currency}, after fees"),
        card(f"P&L at {labels[-1]}", amount(last["pnl"], sign=True), f"{currency}, after fees"),
        card("P&L lost", amount(first["pnl"] - last["pnl"]), f"{currency}, from {labels[0]} to {labels[-1]}"),
        card("Cost per millisecond", amount(sweep["millisecond_cost"]["per_ms"]), f"{currency}, see above"),
        card("Best run", labels[best], f"P&L {amount(sweep['runs'][best]['pnl'], sign=True)} {currency}"),
        card("Orders", f"{first['orders']:,}", f"at {labels[-1]}: {last['orders']:,}"),
    ]


def _runs_table(sweep: Mapping[str, Any], labels: Sequence[str]) -> str:
    start, costs = sweep["runs"][0]["pnl"], charged(sweep["runs"])
    rows = [
        (
            label,
            amount(run["pnl"], sign=True),
            amount(run["pnl"] - start, sign=True),
            amount(run["pnl"] + run["fees"], sign=True),
            *(amount(run[name]) for name in costs),
            amount(run["max_drawdown"]),
            f"{run['orders']:,}",
            f"{run['fills']:,}",
            number(None if run["mean_age_ns"] is None else run["mean_age_ns"] / _MS, 2),
            share(run["too_old"]),
        )
        for label, run in zip(labels, sweep["runs"], strict=True)
    ]
    caption = (
        f"Amounts in {sweep['currency']}. Mean age: from a prediction's newest event to its arrival, transport from "
        "the venue included. Too old: share of predictions older than the limit on arrival, which were not acted on."
    )
    head = (
        *("Latency", "P&L", "Change vs. first run", "P&L before fees", *map(str.capitalize, costs), "Max drawdown"),
        *("Orders", "Fills"),
        *("Mean age (ms)", "Too old"),
    )
    return table(caption, head, rows)


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
    figure.update_yaxes(title_text=f"P&L ({escape(currency)})", tickformat=EXACT)
    figure.update_layout(legend=LEGEND, hovermode="closest")
    return figure


def positions(latency_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the axis positions of latencies [n], increasing: their log10, and for 0 a little left of the next."""
    above = np.log10(latency_ns[latency_ns > 0].astype(np.float64))
    return above if len(above) == len(latency_ns) else np.concatenate([[above[0] - _ZERO_LEFT_BY], above])
