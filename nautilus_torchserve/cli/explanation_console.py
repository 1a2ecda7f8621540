"""An explanation in the terminal: sentences, and a bar for each of the strongest inputs."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nautilus_torchserve.reporting.explanation.sentences import Driver, amount, sentences, strongest
from nautilus_torchserve.reporting.fragments import moment

HALF = 20
"""Characters of the longest bar."""


def explanation_lines(explanation: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Sentences, a table of bars, and for texts the text with its words coloured."""
    for sentence in sentences(explanation):
        yield Text(sentence)
    yield _bars(strongest(explanation), explanation["output"])
    texts = [explanation] if "tokens" in explanation else (explanation.get("news") or {"texts": ()})["texts"]
    for text in texts:
        yield _coloured(text)


def trade_line(explained: Mapping[str, Any]) -> str:
    """Which trade it was; ``explained`` is what `trading.backtest.explain.explain_trade` gives."""
    trade = explained["trade"]
    outputs = ", ".join(f"{name} {value:.4g}" for name, value in trade["outputs"].items())
    return (
        f"Trade {trade['number']} on {explained['instrument_id']}: {trade['side']} {trade['quantity']:g} at "
        f"{trade['price_opened']:,.8g} on {moment(trade['ts_opened'])}, closed at {trade['price_closed']:,.8g} on "
        f"{moment(trade['ts_closed'])}, P&L {trade['pnl']:+,.4g} {explained['currency']}. "
        f"{explained['model']} {explained['version']} had predicted: {outputs}."
    )


def _bars(drivers: list[Driver], output: str) -> Table:
    most = max((abs(driver.attribution) for driver in drivers), default=0.0) or 1.0
    table = Table(box=None, pad_edge=False)
    for name, justify in (("input", "left"), ("was", "right"), ("down", "right"), ("up", "left"), ("part", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for driver in drivers:
        bar = "\N{FULL BLOCK}" * round(HALF * abs(driver.attribution) / most)
        down, up = ("", bar) if driver.attribution > 0 else (bar, "")
        part = amount(driver.attribution, output, sign=True)
        table.add_row(driver.name, driver.detail, Text(down, "dark_orange3"), Text(up, "dodger_blue2"), part)
    return table


def _coloured(text: Mapping[str, Any]) -> Text:
    shown = Text(text["text"])
    most = max((abs(token["attribution"]) for token in text["tokens"]), default=0.0) or 1.0
    for token in text["tokens"]:
        if abs(token["attribution"]) > 0.2 * most:
            style = "bold dodger_blue2" if token["attribution"] > 0 else "bold dark_orange3"
            shown.stylize(style, token["start"], token["end"])
    return shown
