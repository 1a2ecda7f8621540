"""Writes a backtest's report: ``index.html``, which needs no other file, ``summary.json``, and the trades."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import orjson

from nautilus_torchserve.reporting.backtest.data import ReportData
from nautilus_torchserve.reporting.backtest.figures import (
    calibration_figure,
    equity_figure,
    latency_figure,
    price_figure,
)
from nautilus_torchserve.reporting.backtest.summary import outcome_matrix, summarize, tables
from nautilus_torchserve.reporting.backtest.thinning import BINS
from nautilus_torchserve.reporting.backtest.trade_log import trade_files
from nautilus_torchserve.reporting.explanation.figure import Figures, explanation_picture
from nautilus_torchserve.reporting.fragments import (
    amount,
    card,
    chart,
    label_table,
    matrix_table,
    moment,
    note_list,
    number,
    scores_table,
    statistics_table,
    words,
)
from nautilus_torchserve.reporting.frame import filled, framed, replace_files

PAGE = "index.html"
SUMMARY = "summary.json"
_BANNER = (
    '<p class="banner" role="note"><strong>Simulated market:</strong> the data was generated, not '
    "recorded from an exchange. The results demonstrate the pipeline, not the profitability of a strategy.</p>"
)


def write_report(data: ReportData, folder: Path) -> Path:
    """Write the page, the summary and the trades into `folder`, which is made if missing.

    Each file is written beside its place and moved there once all are complete.

    Returns
    -------
    Path
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarize(data)
    everything = {
        "title": data.title,
        "instrument_id": data.instrument_id,
        "simulated": data.simulated,
        "warnings": list(data.warnings),
        "summary": summary,
        **tables(data),
    }
    replace_files(
        {
            folder / SUMMARY: orjson.dumps(everything, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY),
            folder / PAGE: render(data, summary).encode(),
            **(trade_files(data.log, folder) if data.log is not None else {}),
        }
    )
    return folder / PAGE


def render(data: ReportData, summary: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    figures = {
        "price": price_figure(data),
        "equity": equity_figure(data),
        "calibration": calibration_figure(data),
        "latency": latency_figure(data),
    }
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    explained, pictures = explained_section(data)
    body = filled(
        "page.html",
        title=escape(data.title),
        lead=escape(_lead(data)),
        banner=(_ruin(data, summary) if data.ruined_ns is not None else "")
        + (_BANNER if data.simulated else "")
        + "".join(f'<p class="banner loud" role="alert">{escape(warning)}</p>' for warning in data.warnings),
        key_figures=_key_figures(summary),
        price=_price(data, summary, "price" in drawn),
        equity=chart("equity", f"Marked to market in {data.currency}; drawdown from the running maximum.", "tall")
        if "equity" in drawn
        else words("No equity was recorded."),
        matrix=_matrix(data, summary),
        calibration=chart("calibration", _calibration_caption(summary), "tall")
        if "calibration" in drawn
        else words("No outcome is known yet, so the calibration cannot be measured."),
        latency=_latency(summary, "latency" in drawn),
        statistics=_statistics(data),
        explanation=explained,
        inputs=_inputs(data),
    )
    return framed(data.title, body, {**drawn, **pictures})


def _ruin(data: ReportData, summary: Mapping[str, Any]) -> str:
    balance = "" if data.account is None else f" Final equity: {amount(data.account.end)} {data.currency}."
    return (
        '<p class="banner loud" role="note"><strong>RUINED.</strong> Equity fell to zero or below at '
        f"{escape(moment(data.ruined_ns))}: all positions were closed at market and trading stopped."
        f"{escape(balance)}</p>"
    )


def _lead(data: ReportData) -> str:
    parts = [data.instrument_id, *(data.data[key] for key in ("Period", "Source") if key in data.data)]
    return " \N{MIDDLE DOT} ".join(parts)


def _key_figures(summary: Mapping[str, Any]) -> str:
    latency, orders = summary["latency_ms"], summary["orders"]
    share = summary["majority_share"]
    return "\n".join(
        (
            card(
                f"P&L ({summary['currency']})",
                amount(summary["pnl"], sign=True),
                f"return {number(summary['return_pct'], 3, ' %')}",
            ),
            card(
                "Max drawdown",
                number(summary["max_drawdown_pct"], 3, " %"),
                f"{amount(summary['max_drawdown'])} {summary['currency']}",
            ),
            card(
                "Fills",
                f"{summary['fills']:,}",
                "orders not counted" if orders is None else f"of {orders:,} orders",
            ),
            card(
                "Predictions",
                f"{summary['predictions']:,}",
                f"{summary['confident']:,} confident",
                f"{summary['known_outcomes']:,} outcomes known",
            ),
            card(
                "Macro-F1",
                number(summary["macro_f1"]),
                f"accuracy {number(summary['accuracy'])}",
                f"majority class {number(share)}",
            ),
            card(
                "Latency p50 (ms)",
                _ms(latency["p50"]),
                f"p95 {_ms(latency['p95'])} ms",
                f"p99 {_ms(latency['p99'])} ms",
            ),
        )
    )


def _price(data: ReportData, summary: Mapping[str, Any], drawn: bool) -> str:
    if not drawn:
        return words(f"There were no {data.events} in this period.")
    few = len(data.ts_ns) <= 4 * BINS
    parts = [f"{len(data.ts_ns):,} {data.events}" + ("" if few else ", downsampled to the extremes of each time bin")]
    if summary["confident"]:
        parts.append(
            f"{summary['confident']:,} predictions of BUY or SELL at {data.min_probability:g} or more (dots)"
            + _thinned("the most confident", summary["confident"])
        )
    elif {"buy", "sell"} <= set(data.class_names):
        parts.append(f"no prediction of BUY or SELL reached {data.min_probability:g}")
    if len(data.fills):
        parts.append(
            ("1 fill (triangle)" if len(data.fills) == 1 else f"{len(data.fills):,} fills (triangles)")
            + _thinned("the largest", len(data.fills))
        )
    else:
        parts.append("no order was filled")
    return chart("price", "; ".join(parts) + ". Drag to zoom, double-click to reset.", "tall")


def _thinned(which: str, count: int) -> str:
    return f", at most {which} per side in each of {BINS:,} time bins" if count > BINS else ""


def _matrix(data: ReportData, summary: Mapping[str, Any]) -> str:
    if not summary["predictions"]:
        return words("The model was not called: there are no predictions.")
    if not summary["known_outcomes"]:
        return words("No outcome is known yet, so the predictions cannot be scored.")
    matrix = outcome_matrix(data)
    caption = f"{summary['known_outcomes']:,} predictions with a known outcome; percentages are per row."
    return (
        f'<p class="caption">{escape(caption)}</p>'
        + matrix_table(matrix, data.class_names)
        + scores_table(matrix, data.class_names)
    )


def _calibration_caption(summary: Mapping[str, Any]) -> str:
    return f"Expected calibration error {number(summary['ece'], 4)}. The dotted line marks perfect calibration."


def _latency(summary: Mapping[str, Any], drawn: bool) -> str:
    if not drawn:
        return words("No inference latency was measured.")
    arrival = summary["arrival_ms"]
    caption = (
        "Wall time from sending the request to receiving the response. In simulated time a prediction arrived "
        f"{_ms(arrival['p50'])} ms after its event (p50; p99 {_ms(arrival['p99'])} ms)."
    )
    return chart("latency", caption)


def _statistics(data: ReportData) -> str:
    groups = {group: rows for group, rows in data.statistics.items() if rows}
    if not groups:
        return words("There is no account to compute statistics from.")
    basis = "".join(
        f'<p class="caption">{escape(group)}: {escape(data.statistics_basis[group])}</p>'
        for group in groups
        if group in data.statistics_basis
    )
    return (
        f'{basis}<div class="columns">'
        + "".join(statistics_table(group, rows) for group, rows in groups.items())
        + "</div>"
    )


def _inputs(data: ReportData) -> str:
    parts = [("Data", data.data), ("Model", data.model), ("Settings", data.settings)]
    table = "".join(label_table(title, rows) for title, rows in parts if rows)
    body = f'<div class="columns">{table}</div>' if table else words("No configuration was recorded.")
    return body + (note_list(data.notes) if data.notes else "")


def _ms(value: float | None) -> str:
    return number(value, 3 if value is not None and value < 10 else 1)


def explained_section(data: ReportData) -> tuple[str, Figures]:
    """Return the section's HTML with its figures; nothing where no explanation was requested."""
    if data.explained is None:
        return "", {}
    if isinstance(data.explained, str):
        return _trade_section(words(data.explained)), {}
    picture, figures = explanation_picture(data.explained["explanation"], "explanation")
    return _trade_section(f'<p class="lead">{escape(_trade_lead(data.explained))}</p>' + picture), figures


def _trade_lead(explained: Mapping[str, Any]) -> str:
    trade, currency = explained["trade"], explained["currency"]
    which = "the most profitable on news" if trade["texts"] else "the most profitable"
    return (
        f"Trade {trade['number']}, {which}: {trade['side']} {trade['quantity']:g} at "
        f"{trade['price_opened']:,.8g} on {moment(trade['ts_opened'])}, closed at {trade['price_closed']:,.8g} on "
        f"{moment(trade['ts_closed'])}, {amount(trade['pnl'], sign=True)} {currency}. A single trade shows which "
        f"inputs the model relies on, not whether it is right."
    )


def _trade_section(content: str) -> str:
    return f"<section>\n<h2>Explanation of one trade</h2>\n{content}\n</section>"
