"""HTML fragments of a page. All text is escaped here."""

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cell = str | tuple[str, str]
_HASH = re.compile(r"(sha256:)?[0-9a-f]{16,}")
_MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
"""In place of a number that cannot be computed."""


def amount(value: float | None, sign: bool = False) -> str:
    """Format an amount of money: two decimals, four digits below one."""
    if value is None or not np.isfinite(value):
        return DASH
    small = 0 < abs(value) < 1
    text = f"{abs(value):.4g}" if small else f"{abs(value):,.2f}"
    return (_MINUS if value < 0 else "+" if sign and value > 0 else "") + text


def number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """Format a number with `digits` decimals and its unit, with two digits where these are all 0; a dash for none."""
    if value is None or not np.isfinite(value):
        return DASH
    small = 0 < abs(value) < 0.5 * 10.0**-digits
    return (_MINUS if value < 0 else "") + (f"{abs(value):.2g}" if small else f"{abs(value):,.{digits}f}") + unit


def change(value: float | None, digits: int = 3, unit: str = "") -> str:
    """Format a number as `number` does, with its sign."""
    text = number(value, digits, unit)
    return f"+{text}" if value is not None and np.isfinite(value) and value > 0 else text


def share(value: float | None, digits: int = 2) -> str:
    """Format a share of one in percent."""
    return number(None if value is None else 100 * value, digits, "%")


def span(ends: Sequence[float | None] | None, write: Callable[[float | None], str], unit: str = "") -> str:
    """Format an interval by its ends, each formatted by `write`, and their unit; a dash where there is none."""
    if ends is None or None in ends:
        return DASH
    return " to ".join(write(end) for end in ends) + unit


def share_span(ends: Sequence[float | None] | None) -> str:
    """Format an interval of shares of one in percent."""
    return span(ends, lambda end: share(end).removesuffix("%"), "%")


def moment(ts_ns: int | None) -> str:
    """Format nanoseconds since the epoch as a time in UTC, to the second where it is not a whole minute."""
    if ts_ns is None:
        return DASH
    seconds = ts_ns // 1_000_000_000
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M" + (":%S" if seconds % 60 else "") + " UTC")


def banner(headline: str, text: str, loud: bool = True) -> str:
    """Return a warning above the key figures; a loud one where the numbers must not be read without it."""
    kind = "banner loud" if loud else "banner"
    strong = f"<strong>{escape(headline)}</strong> " if headline else ""
    return f'<p class="{kind}" role="note">{strong}{escape(text)}</p>'


def verdict(headline: str, text: str, good: bool = False) -> str:
    """Return the box with the page's main result; a coloured one where that is good."""
    kind = "verdict good" if good else "verdict"
    return f'<div class="{kind}" role="note"><strong>{escape(headline)}</strong><p>{escape(text)}</p></div>'


def card(label: str, value: str, *asides: str) -> str:
    """Return one key figure with the figures that put it into proportion."""
    lines = "".join(f'<dd class="aside">{escape(aside)}</dd>' for aside in asides)
    return f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd>{lines}</div>"


def section(heading: str, *content: str) -> str:
    """Return a section of the page."""
    return f"<section>\n<h2>{escape(heading)}</h2>\n{''.join(content)}\n</section>"


def pair(*sections: str) -> str:
    """Return sections side by side, one below the other on a narrow screen."""
    return '<div class="pair">\n{}\n</div>'.format("\n".join(sections))


def columns(*parts: str) -> str:
    """Return parts in as many columns as fit; empty parts are left out."""
    return '<div class="columns">{}</div>'.format("".join(f"<div>{part}</div>" for part in parts if part))


def chart(name: str, caption: str, size: str = "") -> str:
    """Return the placeholder in which the page's script draws figure `name`, with its caption.

    `size` is ``long``, ``tall``, ``small`` or none of them.
    """
    kind = f"chart {size}".rstrip()
    return (
        f'<p class="caption" id="{name}-caption">{escape(caption)}</p>'
        f'<div class="{kind}" id="{name}" role="img" aria-labelledby="{name}-caption"></div>'
    )


def optional_chart(
    drawn: Container[str], name: str, otherwise: str, caption: str, size: str = "", numbers: str = ""
) -> str:
    """Return `chart` with a table of its numbers folded below it; the sentence `otherwise` where it was not drawn."""
    if name not in drawn:
        return empty_note(otherwise)
    return chart(name, caption, size) + (details("Show as table", numbers) if numbers else "")


def chart_section(
    heading: str, drawn: Container[str], name: str, otherwise: str, caption: str, size: str = "", numbers: str = ""
) -> str:
    """Return the section of one `optional_chart`."""
    return section(heading, optional_chart(drawn, name, otherwise, caption, size, numbers))


def calibration_caption(ece: float | None) -> str:
    """Return the caption of a reliability diagram."""
    return f"Expected calibration error {number(ece, 4)}. The dotted line marks perfect calibration."


def caption_line(text: str) -> str:
    """Return the caption of a section or of what is below it."""
    return f'<p class="caption">{escape(text)}</p>'


def empty_note(text: str) -> str:
    """Return the sentence of a section that has nothing to show."""
    return f'<p class="none">{escape(text)}</p>'


def label_table(title: str, rows: Mapping[str, str]) -> str:
    """Return labels and their values, hashes in a fixed-width face; empty without rows."""
    lines = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td{_kind(value)}>{escape(str(value))}</td></tr>'
        for label, value in rows.items()
    )
    return f'<h3>{escape(title)}</h3><table class="labels">{lines}</table>' if rows else ""


def statistics_table(title: str, rows: Mapping[str, float | str]) -> str:
    """Return one group of statistics."""
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="number">{escape(_statistic(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f'<h3>{escape(title)}</h3><table class="statistics">{lines}</table>'


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Cell]], texts: Sequence[int] = ()) -> str:
    """Return a table whose rows begin with their names; the columns `texts` hold text, all others numbers.

    A cell is a text, or a text and the smaller one below it.
    """
    kinds = ["" if column == 0 or column in texts else ' class="number"' for column in range(len(head))]
    names = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for kind, name in zip(kinds, head, strict=True))
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td{kind}>{_cell(cell)}</td>" for kind, cell in zip(kinds[1:], others, strict=True))
        lines.append(f'<tr><th scope="row">{_cell(first)}</th>{cells}</tr>')
    return captioned_table(caption, names, "".join(lines))


def captioned_table(caption: str, head: str, rows: str) -> str:
    """Return a table of the cells `head` and the lines `rows`, which are HTML."""
    return (
        f'<figure><figcaption class="caption">{escape(caption)}</figcaption><div class="scroll"><table class="plain">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></figure>"
    )


def details(summary: str, content: str) -> str:
    """Return a collapsed section that unfolds on a click."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def confusion_table(matrix: NDArray[np.int64], class_names: Sequence[str]) -> str:
    """Return a confusion matrix, each cell with its count and its share of the row."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows = [
        [
            f'<td style="--share:{share:.3f}">{count:,}<small>{share:.1%}</small></td>'
            for count, share in zip(*row, strict=True)
        ]
        for row in zip(matrix.tolist(), shares.tolist(), strict=True)
    ]
    return heat_table([f"predicted {name}" for name in class_names], [f"actual {name}" for name in class_names], rows)


def heat_table(columns: Iterable[str], rows: Iterable[str], cells: Iterable[Iterable[str]]) -> str:
    """Return a table of coloured cells, which are HTML, below the names of its columns and beside those of its rows."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(line)}</tr>' for name, line in zip(rows, cells, strict=True)
    )
    return f'<div class="scroll"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>{lines}</table></div>'


def class_table(rows: Iterable[Mapping[str, Any]], support: str) -> str:
    """Return the scores of each class, of `ClassScores.rows`; `support` names the column of its occurrences."""
    return table(
        "Precision: share of a class's predictions that are correct. Recall: share of its occurrences that are "
        "predicted.",
        ("Class", support, "Precision", "Recall", "F1"),
        [
            (row["class"], f"{row['support']:,}", *(number(row[key]) for key in ("precision", "recall", "f1")))
            for row in rows
        ],
    )


def note_list(notes: Sequence[str], title: str = "Notes") -> str:
    """Return notes as a list; empty without notes."""
    if not notes:
        return ""
    return f"<h3>{escape(title)}</h3><ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>"


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    text, below = cell
    return f"{escape(text)}<small>{escape(below)}</small>"


def _kind(value: str) -> str:
    return ' class="hash"' if _HASH.fullmatch(str(value)) else ""


def _statistic(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if not np.isfinite(value):
        return DASH
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}".replace("-", _MINUS)
    return (f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.6g}").replace("-", _MINUS)
