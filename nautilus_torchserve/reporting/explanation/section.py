"""The section of a backtest's page that explains one trade."""

from collections.abc import Mapping
from html import escape
from typing import Any

from nautilus_torchserve.reporting.backtest.data import ReportData
from nautilus_torchserve.reporting.explanation.figure import Figures, explanation_picture
from nautilus_torchserve.reporting.fragments import amount, moment, words


def explained_section(data: ReportData) -> tuple[str, Figures]:
    """Return the section's HTML with its figures; nothing where no explanation was requested."""
    if data.explained is None:
        return "", {}
    if isinstance(data.explained, str):
        return _section(words(data.explained)), {}
    picture, figures = explanation_picture(data.explained["explanation"], "explanation")
    return _section(f'<p class="lead">{escape(_lead(data.explained))}</p>' + picture), figures


def _lead(explained: Mapping[str, Any]) -> str:
    trade, currency = explained["trade"], explained["currency"]
    which = "the most profitable on news" if trade["texts"] else "the most profitable"
    return (
        f"Trade {trade['number']}, {which}: {trade['side']} {trade['quantity']:g} at "
        f"{trade['price_opened']:,.8g} on {moment(trade['ts_opened'])}, closed at {trade['price_closed']:,.8g} on "
        f"{moment(trade['ts_closed'])}, {amount(trade['pnl'], sign=True)} {currency}. A single trade shows which "
        f"inputs the model relies on, not whether it is right."
    )


def _section(content: str) -> str:
    return f"<section>\n<h2>Explanation of one trade</h2>\n{content}\n</section>"
