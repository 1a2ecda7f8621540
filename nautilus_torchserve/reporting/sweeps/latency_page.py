"""Writes what a millisecond is worth: ``index.html``, whole in itself, and ``latency_sweep.json``."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import orjson

from nautilus_torchserve.reporting.fragments import amount, card, chart, label_table, number, share, table
from nautilus_torchserve.reporting.frame import filled, framed, replace_files
from nautilus_torchserve.reporting.sweeps.latency_figure import latency_sweep_figure

PAGE = "index.html"
SWEEP = "latency_sweep.json"
_SIMULATED = (
    '<p class="banner loud" role="note"><strong>SIMULATED MARKET.</strong> These prices were generated, not recorded '
    "from an exchange: what a millisecond is worth here says nothing about a real market.</p>"
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
        The latencies as people write them.
    settings : mapping
        What the runs have in common, as label and value.

    Returns
    -------
    Path
        ``folder/index.html``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figure = latency_sweep_figure(sweep["runs"], labels, sweep["currency"])
    title = f"{sweep['model']} {sweep['version']}: what a millisecond is worth"
    page = framed(title, _body(sweep, labels, settings, title), {"latency-sweep": figure})
    numbers = orjson.dumps({**sweep, "settings": dict(settings)}, option=orjson.OPT_INDENT_2)
    replace_files({folder / PAGE: page.encode(), folder / SWEEP: numbers})
    return folder / PAGE


def cost_in_words(sweep: Mapping[str, Any], labels: Sequence[str]) -> tuple[str, str]:
    """What a millisecond costs, and how that was found."""
    per_ms, currency = sweep["millisecond_cost"]["per_ms"], sweep["currency"]
    between = f"between {labels[0]} and {labels[1]}"
    if per_ms == 0:
        said = f"A millisecond costs nothing {between}: both runs end with the same P&L."
    else:
        verb = "costs" if per_ms > 0 else "brings"
        said = f"A millisecond {verb} {amount(abs(per_ms))} {currency} {between}."
    found = (
        "The slope of the straight line through these two runs, one strategy on one stretch of data: the difference "
        "of two sums of many fills, each of them noisy. Beyond them look at the picture."
    )
    return said, found


def _body(sweep: Mapping[str, Any], labels: Sequence[str], settings: Mapping[str, str], title: str) -> str:
    said, found = cost_in_words(sweep, labels)
    return filled(
        "latency_sweep_page.html",
        title=escape(title),
        lead=escape(f"{', '.join(sweep['instrument_ids'])}. {sweep['sample']}"),
        banner=(_SIMULATED if sweep["simulated"] else "") + _trouble(sweep, labels),
        verdict=f"<strong>{escape(said)}</strong><p>{escape(found)}</p>",
        key_figures=_key_figures(sweep, labels),
        chart=chart(
            "latency-sweep",
            "Each point is a whole backtest with this constant latency from event to order; nothing else differs. The "
            "dotted line leaves the fees out: where the two come closer, there were fewer orders.",
            "tall",
        ),
        runs=_runs_table(sweep, labels),
        inputs='<div class="columns">'
        + label_table("Data and model", _origin(sweep))
        + label_table("Settings", settings)
        + "</div>",
    )


def _trouble(sweep: Mapping[str, Any], labels: Sequence[str]) -> str:
    banners = ""
    for key, headline, outcome in (
        ("gave_up", "THE MODEL STOPPED ANSWERING", "they are not comparable"),
        ("ruined", "RUINED: the account had nothing left", "trading ended there"),
    ):
        latencies = [label for label, run in zip(labels, sweep["runs"], strict=True) if run[key]]
        if latencies:
            banners += (
                f'<p class="banner loud" role="note"><strong>{headline}</strong> in the runs with a latency of '
                f"{escape(', '.join(latencies))}: {outcome}.</p>"
            )
    return banners


def _key_figures(sweep: Mapping[str, Any], labels: Sequence[str]) -> str:
    first, last = sweep["runs"][0], sweep["runs"][-1]
    best = max(range(len(labels)), key=lambda at: sweep["runs"][at]["pnl"])
    currency = sweep["currency"]
    return "\n".join(
        (
            card(f"P&L at {labels[0]}", amount(first["pnl"], sign=True), f"{currency}, after fees"),
            card(f"P&L at {labels[-1]}", amount(last["pnl"], sign=True), f"{currency}, after fees"),
            card("Lost on the way", amount(first["pnl"] - last["pnl"]), f"{currency}, from the first to the last"),
            card("A millisecond costs", amount(sweep["millisecond_cost"]["per_ms"]), f"{currency}, see above"),
            card("Best run", labels[best], f"P&L {amount(sweep['runs'][best]['pnl'], sign=True)} {currency}"),
            card("Orders", f"{first['orders']:,}", f"at {labels[-1]}: {last['orders']:,}"),
        )
    )


def _runs_table(sweep: Mapping[str, Any], labels: Sequence[str]) -> str:
    start = sweep["runs"][0]["pnl"]
    rows = [
        (
            label,
            amount(run["pnl"], sign=True),
            amount(run["pnl"] - start, sign=True),
            amount(run["pnl"] + run["fees"], sign=True),
            amount(run["max_drawdown"]),
            f"{run['orders']:,}",
            f"{run['fills']:,}",
            number(None if run["mean_age_ns"] is None else run["mean_age_ns"] / _MS, 2),
            share(run["too_old"]),
        )
        for label, run in zip(labels, sweep["runs"], strict=True)
    ]
    caption = (
        f"Amounts in {sweep['currency']}. Age: from a prediction's newest event to its arrival, in the mean, the way "
        "from the venue included. Too old: older than the limit at its arrival, and so not traded on."
    )
    head = (
        *("Latency", "P&L", "Against the first", "P&L before fees", "Max drawdown", "Orders", "Fills"),
        *("Mean age (ms)", "Too old"),
    )
    return table(caption, head, rows)


def _origin(sweep: Mapping[str, Any]) -> dict[str, str]:
    return {
        "Source": ", ".join(sweep["sources"]),
        "Model": f"{sweep['model']} {sweep['version']}",
        "Archive digest": sweep["digest"],
    }
