"""Writes a backtest's report: ``index.html``, which needs no other file, ``summary.json``, and the trades."""

from collections.abc import Container, Mapping
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
    banner,
    calibration_caption,
    caption_line,
    card,
    chart_section,
    class_table,
    columns,
    confusion_table,
    empty_note,
    label_table,
    moment,
    note_list,
    number,
    pair,
    section,
    statistics_table,
)
from nautilus_torchserve.reporting.frame import render_page, write_page
from nautilus_torchserve.scores.classification import class_scores

SUMMARY = "summary.json"
_SIMULATED = (
    "the data was generated, not recorded from an exchange. The results demonstrate the pipeline, not the "
    "profitability of a strategy."
)


def write_report(data: ReportData, folder: Path) -> Path:
    """Write the page, the summary and the trades into `folder`, which is made if missing.

    Each file is written beside its place and moved there once all are complete.

    Returns
    -------
    Path
        The page.
    """
    summary = summarize(data)
    everything = {
        "title": data.title,
        "instrument_id": data.instrument_id,
        "simulated": data.simulated,
        "warnings": list(data.warnings),
        "summary": summary,
        **tables(data),
    }
    numbers = orjson.dumps(everything, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY)
    trades = trade_files(data.log) if data.log is not None else {}
    return write_page(folder, render(data, summary), {SUMMARY: numbers, **trades})


def render(data: ReportData, summary: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    figures = {
        "price": price_figure(data),
        "equity": equity_figure(data),
        "calibration": calibration_figure(data) if data.scored else None,
        "latency": latency_figure(data),
    }
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    explanation, pictures = explained_section(data)
    return render_page(
        title=data.title,
        lead=_lead(data),
        notices=_notices(data),
        cards=_key_figures(summary, data.scored),
        sections=[
            _price(data, summary, drawn),
            chart_section(
                "Equity and drawdown",
                drawn,
                "equity",
                "No equity was recorded.",
                f"Marked to market in {data.currency}; drawdown from the running maximum.",
                "tall",
            ),
            *([_scores(data, summary, drawn)] if data.scored else []),
            *explanation,
            _latency(summary, drawn),
            section("Statistics", _statistics(data)),
            section("Configuration", _inputs(data)),
        ],
        figures={**drawn, **pictures},
    )


def _notices(data: ReportData) -> str:
    banners = ""
    if data.ruined_ns is not None:
        balance = "" if data.account is None else f" Final equity: {amount(data.account.end)} {data.currency}."
        banners += banner(
            "RUINED.",
            f"Equity fell to zero or below at {moment(data.ruined_ns)}: all positions were closed at market and "
            f"trading stopped.{balance}",
        )
    if data.simulated:
        banners += banner("Simulated market:", _SIMULATED, loud=False)
    return banners + "".join(banner("", warning) for warning in data.warnings)


def _lead(data: ReportData) -> str:
    parts = [data.instrument_id, *(data.data[key] for key in ("Period", "Source") if key in data.data)]
    return " \N{MIDDLE DOT} ".join(parts)


def _key_figures(summary: Mapping[str, Any], scored: bool) -> list[str]:
    latency, orders = summary["latency_ms"], summary["orders"]
    currency, count = summary["currency"], f"{summary['predictions']:,}"
    figures = [
        card(
            "Predictions",
            count,
            f"{summary['confident']:,} confident",
            f"{summary['known_outcomes']:,} outcomes known",
        ),
        card(
            "Macro-F1",
            number(summary["macro_f1"]),
            f"accuracy {number(summary['accuracy'])}",
            f"majority class {number(summary['majority_share'])}",
        ),
    ]
    return [
        card(f"P&L ({currency})", amount(summary["pnl"], sign=True), f"return {number(summary['return_pct'], 3, '%')}"),
        card(
            "Max drawdown",
            number(summary["max_drawdown_pct"], 3, "%"),
            f"{amount(summary['max_drawdown'])} {currency}",
        ),
        card("Fills", f"{summary['fills']:,}", "orders not counted" if orders is None else f"of {orders:,} orders"),
        *(figures if scored else [card("Predictions", count, f"{summary['answered']:,} answered")]),
        card("Latency p50 (ms)", _ms(latency["p50"]), *(f"{rank} {_ms(latency[rank])} ms" for rank in ("p95", "p99"))),
    ]


def _price(data: ReportData, summary: Mapping[str, Any], drawn: Container[str]) -> str:
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
    caption = "; ".join(parts) + ". Drag to zoom, double-click to reset."
    otherwise = f"There were no {data.events} in this period."
    heading = "Price, predictions and fills" if data.scored else "Price and fills"
    return chart_section(heading, drawn, "price", otherwise, caption, "tall")


def _thinned(which: str, count: int) -> str:
    return f", at most {which} per side in each of {BINS:,} time bins" if count > BINS else ""


def _scores(data: ReportData, summary: Mapping[str, Any], drawn: Container[str]) -> str:
    return pair(
        section("Confusion matrix", _matrix(data, summary)),
        chart_section(
            "Calibration",
            drawn,
            "calibration",
            "No outcome is known yet, so the calibration cannot be measured.",
            calibration_caption(summary["ece"]),
            "tall",
        ),
    )


def _matrix(data: ReportData, summary: Mapping[str, Any]) -> str:
    if not summary["predictions"]:
        return empty_note("The model was not called: there are no predictions.")
    if not summary["known_outcomes"]:
        return empty_note("No outcome is known yet, so the predictions cannot be scored.")
    matrix = outcome_matrix(data)
    return (
        caption_line(f"{summary['known_outcomes']:,} predictions with a known outcome; percentages are per row.")
        + confusion_table(matrix, data.class_names)
        + class_table(class_scores(matrix).rows(data.class_names), "Outcomes")
    )


def _latency(summary: Mapping[str, Any], drawn: Container[str]) -> str:
    arrival = summary["arrival_ms"]
    caption = (
        "Wall time from sending the request to receiving the response. In simulated time a prediction arrived "
        f"{_ms(arrival['p50'])} ms after its event (p50; p99 {_ms(arrival['p99'])} ms)."
    )
    return chart_section("Inference latency", drawn, "latency", "No inference latency was measured.", caption)


def _statistics(data: ReportData) -> str:
    groups = {group: rows for group, rows in data.statistics.items() if rows}
    if not groups:
        return empty_note("There is no account to compute statistics from.")
    bases = [
        caption_line(f"{group}: {data.statistics_basis[group]}") for group in groups if group in data.statistics_basis
    ]
    return "".join(bases) + columns(*(statistics_table(group, rows) for group, rows in groups.items()))


def _inputs(data: ReportData) -> str:
    parts = [("Data", data.data), ("Model", data.model), ("Settings", data.settings)]
    tables = [label_table(title, rows) for title, rows in parts]
    body = columns(*tables) if any(tables) else empty_note("No configuration was recorded.")
    return body + note_list(data.notes)


def _ms(value: float | None) -> str:
    return number(value, 3 if value is not None and value < 10 else 1)


def explained_section(data: ReportData) -> tuple[list[str], Figures]:
    """Return the section of the explained trade with its figures; none where no explanation was requested."""
    if data.explained is None:
        return [], {}
    figures: Figures = {}
    if isinstance(data.explained, str):
        content = empty_note(data.explained)
    else:
        picture, figures = explanation_picture(data.explained["explanation"])
        content = f'<p class="lead">{escape(_trade_lead(data.explained))}</p>' + picture
    return [section("Explanation of one trade", content)], figures


def _trade_lead(explained: Mapping[str, Any]) -> str:
    trade, currency = explained["trade"], explained["currency"]
    which = "the most profitable on news" if trade["texts"] else "the most profitable"
    return (
        f"Trade {trade['number']}, {which}: {trade['side']} {trade['quantity']:g} at "
        f"{trade['price_opened']:,.8g} on {moment(trade['ts_opened'])}, closed at {trade['price_closed']:,.8g} on "
        f"{moment(trade['ts_closed'])}, {amount(trade['pnl'], sign=True)} {currency}. A single trade shows which "
        f"inputs the model relies on, not whether it is right."
    )
