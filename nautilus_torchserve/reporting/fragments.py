"""HTML fragments of a page. All text is escaped here."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

import numpy as np
from numpy.typing import NDArray

from nautilus_torchserve.scores.classification import class_scores

Cell = str | tuple[str, str]
_HASH = re.compile(r"(sha256:)?[0-9a-f]{16,}")
_MINUS = "\N{MINUS SIGN}"
_NOTHING = "\N{EN DASH}"


def amount(value: float | None, sign: bool = False) -> str:
    """Format an amount of money: two decimals, four digits below one."""
    if value is None or not np.isfinite(value):
        return _NOTHING
    small = 0 < abs(value) < 1
    text = f"{abs(value):.4g}" if small else f"{abs(value):,.2f}"
    return (_MINUS if value < 0 else "+" if sign and value > 0 else "") + text


def number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """Format a number with `digits` decimals and its unit; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return _NOTHING
    return (_MINUS if value < 0 else "") + f"{abs(value):,.{digits}f}{unit}"


def change(value: float | None, digits: int = 3, unit: str = "") -> str:
    """Format a number as `number` does, with its sign."""
    text = number(value, digits, unit)
    return f"+{text}" if value is not None and np.isfinite(value) and value > 0 else text


def share(value: float | None, digits: int = 2) -> str:
    """Format a share of one in percent."""
    return number(None if value is None else 100 * value, digits, " %")


def span(ends: Sequence[float | None] | None, write: Callable[[float | None], str], unit: str = "") -> str:
    """Format an interval by its ends, each formatted by `write`, and their unit; a dash where there is none."""
    if ends is None or None in ends:
        return _NOTHING
    return " to ".join(write(end) for end in ends) + unit


def share_span(ends: Sequence[float | None] | None) -> str:
    """Format an interval of shares of one in percent."""
    return span(ends, lambda end: share(end).removesuffix(" %"), " %")


def moment(ts_ns: int | None) -> str:
    """Format nanoseconds since the epoch as a time in UTC, to the second where it is not a whole minute."""
    if ts_ns is None:
        return _NOTHING
    seconds = ts_ns // 1_000_000_000
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M" + (":%S" if seconds % 60 else "") + " UTC")


def card(label: str, value: str, *asides: str) -> str:
    """Return one key figure with the figures that put it into proportion."""
    lines = "".join(f'<dd class="aside">{escape(aside)}</dd>' for aside in asides)
    return f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd>{lines}</div>"


def chart(name: str, caption: str, size: str = "") -> str:
    """Return the placeholder in which the page's script draws figure `name`, with its caption.

    `size` is ``long``, ``tall``, ``small`` or none of them.
    """
    kind = f"chart {size}".rstrip()
    return (
        f'<p class="caption" id="{name}-caption">{escape(caption)}</p>'
        f'<div class="{kind}" id="{name}" role="img" aria-labelledby="{name}-caption"></div>'
    )


def words(text: str) -> str:
    """Return the sentence of a section that has nothing to show."""
    return f'<p class="none">{escape(text)}</p>'


def label_table(title: str, rows: Mapping[str, str]) -> str:
    """Return labels and their values; hashes in a fixed-width face."""
    lines = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td{_kind(value)}>{escape(str(value))}</td></tr>'
        for label, value in rows.items()
    )
    return f'<div><h3>{escape(title)}</h3><table class="labels">{lines}</table></div>'


def statistics_table(title: str, rows: Mapping[str, float | str]) -> str:
    """Return one group of statistics."""
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="number">{escape(_statistic(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f'<div><h3>{escape(title)}</h3><table class="statistics">{lines}</table></div>'


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
    return (
        f'<figure><figcaption class="caption">{escape(caption)}</figcaption><div class="scroll"><table class="plain">'
        f"<thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></figure>"
    )


def details(summary: str, content: str) -> str:
    """Return a collapsed section that unfolds on a click."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def matrix_table(matrix: NDArray[np.int64], class_names: tuple[str, ...]) -> str:
    """Return a confusion matrix, each cell with its count and its share of the row."""
    head = "".join(f'<th scope="col">predicted {escape(name)}</th>' for name in class_names)
    lines = []
    for name, row in zip(class_names, matrix, strict=True):
        shares = row / max(int(row.sum()), 1)
        cells = "".join(
            f'<td style="--share:{share:.3f}">{count:,}<small>{share:.1%}</small></td>'
            for count, share in zip(row.tolist(), shares.tolist(), strict=True)
        )
        lines.append(f'<tr><th scope="row">actual {escape(name)}</th>{cells}</tr>')
    table = f'<table class="matrix"><thead><tr><th></th>{head}</tr></thead>{"".join(lines)}</table>'
    return f'<div class="scroll">{table}</div>'


def scores_table(matrix: NDArray[np.int64], class_names: tuple[str, ...]) -> str:
    """Return precision, recall and F1 of each class."""
    scores = class_scores(matrix)
    columns = (scores.precision, scores.recall, scores.f1)
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="number">{scores.support[index]:,}</td>'
        + "".join(f'<td class="number">{number(float(column[index]))}</td>' for column in columns)
        + "</tr>"
        for index, name in enumerate(class_names)
    )
    names = ("Outcomes", "Precision", "Recall", "F1")
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in names)
    return f'<div class="scroll"><table><tr><th scope="col">Class</th>{head}</tr>{lines}</table></div>'


def note_list(notes: Sequence[str], title: str = "Notes") -> str:
    """Return notes as a list."""
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
        return _NOTHING
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}".replace("-", _MINUS)
    return (f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.6g}").replace("-", _MINUS)
