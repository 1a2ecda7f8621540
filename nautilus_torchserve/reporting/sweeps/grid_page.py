"""Writes the report of a parameter sweep: ``index.html``, which needs no other file, and ``sweep.json``."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import orjson

from nautilus_torchserve.reporting.fragments import amount, card, label_table, number, share
from nautilus_torchserve.reporting.frame import filled, framed, replace_files

PAGE = "index.html"
SWEEP = "sweep.json"
_DEEPEST = 55
"""Share of the colour that the largest amount is painted with, percent."""
_SIMULATED = (
    '<p class="banner loud" role="note"><strong>SIMULATED MARKET.</strong> These prices were generated, not recorded '
    "from an exchange: settings that do well here need not do well on any real market.</p>"
)


def write_sweep(sweep: Mapping[str, Any], settings: Mapping[str, str], folder: Path) -> Path:
    """Write the page and the same numbers as JSON into `folder`, which is made if missing.

    Parameters
    ----------
    sweep : mapping
        Plain JSON types:

        ``subject``
            ``model``, ``version``, ``digest``, ``instrument_ids``, ``sources``, ``simulated``, ``sample``,
            ``currency``.
        ``grid``
            Field -> its values as text.
        ``possible``, ``tried``, ``failed``
            Numbers of combinations in the grid, that were run, and without an outcome.
        ``deflated_sharpe``, ``sharpe_periods``
            Of the best Sharpe ratio (None where it cannot be computed), and the number of periods it was computed over.
        ``trials``
            The most profitable first: ``settings`` (field -> value), ``error``, and without one ``pnl``, ``fees``,
            ``max_drawdown``, ``ruined``, ``orders``, ``positions``, ``too_old`` (share or None), ``sharpe`` (or None).
    settings : mapping
        Settings that all runs share, as label and value.

    Returns
    -------
    Path
        ``folder/index.html``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{sweep['subject']['model']}: {sweep['tried']:,} backtests"
    page = framed(title, _body(sweep, settings, title), {})
    numbers = orjson.dumps({**sweep, "settings": dict(settings)}, option=orjson.OPT_INDENT_2)
    replace_files({folder / PAGE: page.encode(), folder / SWEEP: numbers})
    return folder / PAGE


def optimism_in_words(sweep: Mapping[str, Any]) -> str:
    """Return how far the selection of the best run biases its result."""
    done = sweep["tried"] - sweep["failed"]
    if done < 2:
        return "Only one combination has a result: there is no selection bias."
    bias = (
        f"It is the best of {done:,} runs on the same data, so its result is biased upwards by the selection: "
        "validate it on unseen data."
    )
    if sweep["deflated_sharpe"] is None:
        return bias
    return (
        f"{bias} The deflated Sharpe ratio (Bailey and L\N{LATIN SMALL LETTER O WITH ACUTE}pez de Prado 2014) of the "
        f"highest Sharpe ratio is {sweep['deflated_sharpe']:.2f}: the probability that it is not explained by the "
        "selection alone, with similar combinations treated as independent trials."
    )


def _body(sweep: Mapping[str, Any], settings: Mapping[str, str], title: str) -> str:
    subject = sweep["subject"]
    best = sweep["trials"][0]
    chosen = ", ".join(f"{name} {value}" for name, value in best["settings"].items())
    verdict = f"Most profitable: {chosen}, P&L {amount(best['pnl'], sign=True)} {subject['currency']}"
    origin = {
        "Source": ", ".join(subject["sources"]),
        "Model": f"{subject['model']} {subject['version']}",
        "Archive digest": subject["digest"],
    }
    grid = {name: ", ".join(values) for name, values in sweep["grid"].items()}
    return filled(
        "sweep_page.html",
        title=escape(title),
        lead=escape(f"{', '.join(subject['instrument_ids'])}. {subject['sample']}"),
        banner=(_SIMULATED if subject["simulated"] else "") + _trouble(sweep),
        verdict=f"<strong>{escape(verdict)}</strong><p>{escape(optimism_in_words(sweep))}</p>",
        key_figures=_key_figures(sweep),
        matrix=_matrix(sweep),
        trials=_trials(sweep),
        inputs='<div class="columns">'
        + label_table("Parameter grid", grid)
        + label_table("Data and model", origin)
        + label_table("Common settings", settings)
        + "</div>",
    )


def _trouble(sweep: Mapping[str, Any]) -> str:
    banners = ""
    if ruined := sum(not trial["error"] and trial["ruined"] for trial in sweep["trials"]):
        banners += (
            f'<p class="banner loud" role="note"><strong>RUINED:</strong> in {ruined:,} of {sweep["tried"]:,} '
            "combinations equity fell to zero or below, and trading stopped.</p>"
        )
    if sweep["failed"]:
        banners += (
            f'<p class="banner" role="note">{sweep["failed"]:,} of {sweep["tried"]:,} combinations failed; the reasons '
            "are at the end of the table.</p>"
        )
    return banners


def _key_figures(sweep: Mapping[str, Any]) -> str:
    done = [trial for trial in sweep["trials"] if not trial["error"]]
    pnl = sorted(trial["pnl"] for trial in done)
    currency = sweep["subject"]["currency"]
    profitable = sum(value > 0 for value in pnl)
    coverage = "the full grid" if sweep["tried"] == sweep["possible"] else f"sampled from {sweep['possible']:,}"
    median = (pnl[(len(pnl) - 1) // 2] + pnl[len(pnl) // 2]) / 2
    return "\n".join(
        (
            card("Combinations", f"{sweep['tried']:,}", coverage),
            card("Best P&L", amount(pnl[-1], sign=True), f"{currency}, after fees"),
            card("Median P&L", amount(median, sign=True), currency),
            card("Worst P&L", amount(pnl[0], sign=True), currency),
            card("Profitable", share(profitable / len(pnl), 0), f"{profitable:,} of {len(pnl):,}"),
            card("Deflated Sharpe ratio", number(sweep["deflated_sharpe"], 2), "of the best run, see above"),
        )
    )


def _matrix(sweep: Mapping[str, Any]) -> str:
    """Return the P&L over a grid of two settings; empty for any other number."""
    wide = [name for name, values in sweep["grid"].items() if len(values) > 1]
    if len(wide) != 2:
        return ""
    down, across = wide
    trials = {(trial["settings"][down], trial["settings"][across]): trial for trial in sweep["trials"]}
    deepest = _deepest(sweep)
    lines = []
    for row in sweep["grid"][down]:
        cells = "".join(_matrix_cell(trials.get((row, column)), deepest) for column in sweep["grid"][across])
        lines.append(f'<tr><th scope="row">{escape(row)}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in sweep["grid"][across])
    caption = f"Rows: {down}, columns: {across}; {sweep['subject']['currency']} after fees."
    return (
        f'<section><h2>P&amp;L matrix</h2><p class="caption">{escape(caption)}</p><div class="scroll">'
        f'<table class="matrix"><thead><tr><th></th>{head}</tr></thead>{"".join(lines)}</table></div></section>'
    )


def _matrix_cell(trial: Mapping[str, Any] | None, deepest: float) -> str:
    if trial is None:
        return "<td>not sampled</td>"
    if trial["error"]:
        return "<td>failed</td>"
    return f'<td style="{_paint(trial["pnl"], deepest)}">{escape(amount(trial["pnl"], sign=True))}</td>'


def _trials(sweep: Mapping[str, Any]) -> str:
    names = list(sweep["grid"])
    deepest = _deepest(sweep)
    figures = ("P&L", "Before fees", "Max drawdown", "Orders", "Positions", "Too old", "Sharpe")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    head += "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in figures)
    lines = []
    for trial in sweep["trials"]:
        begin = "".join(f"<td>{escape(trial['settings'][name])}</td>" for name in names)
        lines.append(f"<tr>{begin}{_figures(trial, deepest, len(figures))}</tr>")
    caption = (
        f"Sharpe: mean over standard deviation of the P&L in {sweep['sharpe_periods']} equal periods of the run, "
        "not annualised. Too old: share of predictions older than the limit on arrival, which were not acted on."
    )
    return (
        f'<figure><figcaption class="caption">{escape(caption)}</figcaption><div class="scroll"><table class="plain">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></figure>"
    )


def _figures(trial: Mapping[str, Any], deepest: float, columns: int) -> str:
    if trial["error"]:
        return f'<td colspan="{columns}">failed: {escape(trial["error"])}</td>'
    first = f'<td class="number" style="{_paint(trial["pnl"], deepest)}">{escape(amount(trial["pnl"], sign=True))}</td>'
    others = (
        amount(trial["pnl"] + trial["fees"], sign=True),
        amount(trial["max_drawdown"]) + (", RUINED" if trial["ruined"] else ""),
        f"{trial['orders']:,}",
        f"{trial['positions']:,}",
        share(trial["too_old"]),
        number(trial["sharpe"]),
    )
    return first + "".join(f'<td class="number">{escape(text)}</td>' for text in others)


def _deepest(sweep: Mapping[str, Any]) -> float:
    return max((abs(trial["pnl"]) for trial in sweep["trials"] if not trial["error"]), default=0.0)


def _paint(pnl: float, deepest: float) -> str:
    colour = "var(--buy)" if pnl > 0 else "var(--sell)"
    depth = _DEEPEST * abs(pnl) / deepest if deepest else 0.0
    return f"background: color-mix(in srgb, {colour} {depth:.0f}%, var(--card))"
