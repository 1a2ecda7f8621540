"""Writes the report of a parameter sweep: ``index.html``, which needs no other file, and ``sweep.json``."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from nautilus_torchserve.reporting.fragments import (
    amount,
    banner,
    caption_line,
    captioned_table,
    card,
    columns,
    heat_table,
    label_table,
    number,
    section,
    share,
    verdict,
)
from nautilus_torchserve.reporting.frame import render_page, write_page

SWEEP = "sweep.json"
_DEEPEST = 55
"""Share of the colour that the largest amount is painted with, percent."""
_SIMULATED = (
    "These prices were generated, not recorded from an exchange: settings that do well here need not do well on any "
    "real market."
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
    numbers = orjson.dumps({**sweep, "settings": dict(settings)}, option=orjson.OPT_INDENT_2)
    return write_page(folder, _render(sweep, settings), {SWEEP: numbers})


def selection_bias(sweep: Mapping[str, Any]) -> str:
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


def subject_lead(subject: Mapping[str, Any]) -> str:
    """Return the line below a sweep's heading."""
    return f"{', '.join(subject['instrument_ids'])}. {subject['sample']}"


def subject_table(subject: Mapping[str, Any]) -> str:
    """Return the data and the model of a sweep."""
    rows = {
        "Source": ", ".join(subject["sources"]),
        "Model": f"{subject['model']} {subject['version']}",
        "Archive digest": subject["digest"],
    }
    return label_table("Data and model", rows)


def _render(sweep: Mapping[str, Any], settings: Mapping[str, str]) -> str:
    subject, best = sweep["subject"], sweep["trials"][0]
    chosen = ", ".join(f"{name} {value}" for name, value in best["settings"].items())
    result = f"Most profitable: {chosen}, P&L {amount(best['pnl'], sign=True)} {subject['currency']}"
    grid = {name: ", ".join(values) for name, values in sweep["grid"].items()}
    return render_page(
        title=f"{subject['model']}: {sweep['tried']:,} backtests",
        lead=subject_lead(subject),
        notices=_notices(sweep) + verdict(result, selection_bias(sweep)),
        cards=_key_figures(sweep),
        sections=[
            *_matrix(sweep),
            section("All combinations, ranked by P&L", _trials(sweep)),
            section(
                "Configuration",
                columns(
                    label_table("Parameter grid", grid),
                    subject_table(subject),
                    label_table("Common settings", settings),
                ),
            ),
        ],
        figures={},
    )


def _notices(sweep: Mapping[str, Any]) -> str:
    banners = banner("SIMULATED MARKET.", _SIMULATED) if sweep["subject"]["simulated"] else ""
    if ruined := sum(not trial["error"] and trial["ruined"] for trial in sweep["trials"]):
        ending = "combinations equity fell to zero or below, and trading stopped."
        banners += banner("RUINED:", f"in {ruined:,} of {sweep['tried']:,} {ending}")
    if sweep["failed"]:
        ending = "combinations failed; the reasons are at the end of the table."
        banners += banner("", f"{sweep['failed']:,} of {sweep['tried']:,} {ending}", loud=False)
    return banners


def _key_figures(sweep: Mapping[str, Any]) -> list[str]:
    done = [trial for trial in sweep["trials"] if not trial["error"]]
    pnl = sorted(trial["pnl"] for trial in done)
    currency = sweep["subject"]["currency"]
    profitable = sum(value > 0 for value in pnl)
    coverage = "the full grid" if sweep["tried"] == sweep["possible"] else f"sampled from {sweep['possible']:,}"
    return [
        card("Combinations", f"{sweep['tried']:,}", coverage),
        card("Best P&L", amount(pnl[-1], sign=True), f"{currency}, after fees"),
        card("Median P&L", amount(median(pnl), sign=True), currency),
        card("Worst P&L", amount(pnl[0], sign=True), currency),
        card("Profitable", share(profitable / len(pnl), 0), f"{profitable:,} of {len(pnl):,}"),
        card("Deflated Sharpe ratio", number(sweep["deflated_sharpe"], 2), "of the best run, see above"),
    ]


def _matrix(sweep: Mapping[str, Any]) -> list[str]:
    """Return the section with the P&L over a grid of two settings; none for any other number."""
    wide = [name for name, values in sweep["grid"].items() if len(values) > 1]
    if len(wide) != 2:
        return []
    down, across = wide
    trials = {(trial["settings"][down], trial["settings"][across]): trial for trial in sweep["trials"]}
    deepest, rows, names = _deepest(sweep), sweep["grid"][down], sweep["grid"][across]
    cells = [[_matrix_cell(trials.get((row, name)), deepest) for name in names] for row in rows]
    text = f"Rows: {down}, columns: {across}; {sweep['subject']['currency']} after fees."
    return [section("P&L matrix", caption_line(text), heat_table(names, rows, cells))]


def _matrix_cell(trial: Mapping[str, Any] | None, deepest: float) -> str:
    if trial is None:
        return "<td>not sampled</td>"
    if trial["error"]:
        return "<td>failed</td>"
    return f'<td style="{_paint(trial["pnl"], deepest)}">{escape(amount(trial["pnl"], sign=True))}</td>'


def _trials(sweep: Mapping[str, Any]) -> str:
    names = list(sweep["grid"])
    deepest = _deepest(sweep)
    costs = charged(sweep["trials"])
    figures = (
        "P&L",
        "Before fees",
        *map(str.capitalize, costs),
        "Max drawdown",
        "Orders",
        "Positions",
        "Too old",
        "Sharpe",
    )
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    head += "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in figures)
    lines = []
    for trial in sweep["trials"]:
        begin = "".join(f"<td>{escape(trial['settings'][name])}</td>" for name in names)
        lines.append(f"<tr>{begin}{_figures(trial, deepest, len(figures), costs)}</tr>")
    text = (
        f"Sharpe: mean over standard deviation of the P&L in {sweep['sharpe_periods']} equal periods of the run, "
        "not annualised. Too old: share of predictions older than the limit on arrival, which were not acted on."
    )
    return captioned_table(text, head, "".join(lines))


def charged(outcomes: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return which of ``funding`` and ``borrow`` some outcomes were charged with."""
    return tuple(name for name in ("funding", "borrow") if any(outcome.get(name) is not None for outcome in outcomes))


def _figures(trial: Mapping[str, Any], deepest: float, columns: int, costs: Sequence[str]) -> str:
    if trial["error"]:
        return f'<td colspan="{columns}">failed: {escape(trial["error"])}</td>'
    first = f'<td class="number" style="{_paint(trial["pnl"], deepest)}">{escape(amount(trial["pnl"], sign=True))}</td>'
    others = (
        amount(trial["pnl"] + trial["fees"], sign=True),
        *(amount(trial[name]) for name in costs),
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
