"""Files of labelled sentences as others write them: CSV of any order, names and labels, or ``text@label`` lines."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nautilus_torchserve.market.bad_data import BadData
from nautilus_torchserve.market.csv_dialect import SAMPLE, detect_dialect, joined_cells, read_records, short
from nautilus_torchserve.market.data_files import data_files
from nautilus_torchserve.training.sentiment.news_corpus import CLASSES, BadCorpus, Sentence, one_of
from nautilus_torchserve.user_error import InvalidArgument

TEXT_NAMES = ("text", "sentence", "headline", "title", "tweet", "phrase", "news")
"""Names of a column of texts; the first is used even where there are others."""
LABEL_NAMES = ("label", "sentiment", "polarity", "class")
"""Names of a column of labels; the first is used even where there are others."""
AT_LABEL = re.compile(r"@\s*[^\s@,;|\"]+\s*")
"""End of a ``text@label`` line."""
SUGGESTED = {"bullish": "positive", "bearish": "negative"}
"""Classes that a message suggests for labels in words. None is for numbers: 0 is negative in one corpus, positive in
the next."""
MOST_LABELS = 20
LONGEST_LABEL = 30
"""Labels, and characters of one, that a message lists; what has more is hardly a column of labels."""


class _Row(NamedTuple):
    """One row of a file."""

    line: int
    text: str
    label: str


def parse_label_map(text: str) -> dict[str, str]:
    """Return the classes of labels, in lower case, from ``0=negative,1=positive,2=neutral``.

    Raises
    ------
    InvalidArgument
        An entry that is no label with one of `CLASSES`, or a label with two.
    """
    classes: dict[str, str] = {}
    for entry in text.split(","):
        label, _, name = (part.strip().lower() for part in entry.rpartition("="))
        if not label or name not in CLASSES:
            raise InvalidArgument(
                f"expected LABEL=CLASS with class {one_of(CLASSES)}, as in 0=negative,1=positive,2=neutral, "
                f"got {entry!r}"
            )
        if classes.setdefault(label, name) != name:
            raise InvalidArgument(f"expected one class for label {label!r}, got {classes[label]} and {name}")
    return classes


def load_labelled(path: Path, label_map: Mapping[str, str] | None = None) -> tuple[Sentence, ...]:
    """Read a file of labelled sentences, plain or compressed.

    It is a CSV with a column of texts (`TEXT_NAMES`) and one of labels (`LABEL_NAMES`), or of just these two without a
    header, in any order; or in lines of ``text@label``, the Financial PhraseBank's format (Malo et al. 2014). The
    encoding is UTF-8, UTF-16 with a byte order mark, or else Windows-1252, which has the PhraseBank's Latin-1.

    Parameters
    ----------
    label_map : mapping of str to str, optional
        Classes of labels in lower case, from `parse_label_map`. Labels in neither this nor `CLASSES` are refused.

    Raises
    ------
    BadCorpus
        Not a file of labelled sentences; names file, line, what was expected and what it was.
    """
    files = data_files(path)
    if len(files) != 1:
        raise BadCorpus(f"{path}: expected a file of labelled sentences, got {len(files) or 'none'}")
    classes = dict(zip(CLASSES, CLASSES, strict=True)) | dict(label_map or {})
    try:
        content = files[0].read()
        dialect = detect_dialect(files[0].name, content)
        text = _decoded(path, content, dialect.encoding)
        if not text.strip():
            raise BadCorpus(f"{path}: expected labelled sentences, got an empty file")
        rows = [*_rows(path, text, dialect.delimiter, classes)]
    except BadData as error:
        raise BadCorpus(f"{error}") from None
    if not rows:
        raise BadCorpus(f"{path}: expected labelled sentences, got only a header")
    for row in rows:
        if not row.text:
            raise BadCorpus(f"{path}: line {row.line}: expected a sentence, got none")
        if row.label.lower() not in classes:
            raise _unknown_label(path, row, rows, classes)
    return tuple(Sentence(row.text, classes[row.label.lower()]) for row in rows)


def source_of(path: Path, label_map: Mapping[str, str] | None) -> str:
    """Return the name of a file as a source of sentences, with the classes that its labels were read as."""
    entries = ",".join(f"{label}={name}" for label, name in (label_map or {}).items())
    return f"{path} ({entries})" if entries else str(path)


def _decoded(path: Path, content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "cp1252":  # leaves five bytes undefined
            return content.decode("latin-1")
        raise BadCorpus(f"{path}: expected {encoding.upper()}, got unreadable text: {error}") from None


def _rows(path: Path, text: str, delimiter: str, classes: Mapping[str, str]) -> Iterator[_Row]:
    """Yield the rows of a file in whichever form it has."""
    lines = [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    written = [line for line in lines if line.strip()]
    header = [cell.strip().lower() for cell in next(csv.reader([written[0][:SAMPLE]], delimiter=delimiter))]
    text_at, label_at = _column(path, header, TEXT_NAMES), _column(path, header, LABEL_NAMES)
    if text_at is not None and label_at is not None:
        records = _records(path, text, delimiter, classes)
        width = len(next(records)[1])
        for line, cells in records:
            yield _Row(line, *_cells(path, line, cells, width, delimiter, text_at, label_at))
        return
    if sum(AT_LABEL.search(line, line.rfind("@")) is not None for line in written if "@" in line) * 2 >= len(written):
        yield from _at_rows(path, lines)
    elif len(header) == 2 and text_at is None and label_at is None:
        yield from _bare_rows(path, [*_records(path, text, delimiter, classes)], delimiter, classes)
    else:
        raise BadCorpus(
            f"{path}: line 1: expected text@label, or a CSV header with text ({', '.join(TEXT_NAMES)}) and label "
            f"({', '.join(LABEL_NAMES)}), got {short(written[0])}"
        )


def _records(path: Path, text: str, delimiter: str, classes: Mapping[str, str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of a CSV, `read_records`; refuse rows that a stray quote joined."""
    for line, cells in read_records(path.name, text, delimiter):
        if any(cell.lower() in classes for cell in joined_cells(cells, delimiter)):
            got = f"several rows in a quoted cell: {short(cells)}"
            raise BadCorpus(f"{path}: line {line}: expected one sentence, got {got}; close the quote, or double it")
        yield line, cells


def _column(path: Path, header: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the position of the one column of these names."""
    matches = [at for at, cell in enumerate(header) if cell in names]
    matches = [at for at in matches if header[at] == names[0]] or matches
    if len(matches) > 1:
        got = " and ".join(header[at] for at in matches)
        raise BadCorpus(f"{path}: expected one column of {names[0]} ({', '.join(names)}), got {got}")
    return matches[0] if matches else None


def _cells(
    path: Path, line: int, cells: Sequence[str], width: int, delimiter: str, text_at: int, label_at: int
) -> tuple[str, str]:
    """Return the text and the label of a record."""
    if len(cells) != width:
        raise BadCorpus(
            f"{path}: line {line}: expected {width} cells separated by {delimiter!r}, got {len(cells)}: "
            f"{short([*cells])}; quote a cell that has {delimiter!r} in it"
        )
    return cells[text_at].strip(), cells[label_at].strip()


def _at_rows(path: Path, lines: Sequence[str]) -> Iterator[_Row]:
    for number, line in enumerate(lines, 1):
        text, at, label = line.rpartition("@")
        if line.strip() and not at:
            raise BadCorpus(f"{path}: line {number}: expected text@label as in other lines, got {short(line)}")
        if line.strip():
            yield _Row(number, text.strip(), label.strip())


def _bare_rows(
    path: Path, records: Sequence[tuple[int, list[str]]], delimiter: str, classes: Mapping[str, str]
) -> Iterator[_Row]:
    """Yield the rows of a file of two columns without a header: labels are in that with most known or repeated ones."""

    def rank(at: int) -> tuple[int, int]:
        labels = [cells[at].strip().lower() for _, cells in records if len(cells) == 2]
        return sum(label in classes for label in labels), -len({*labels})

    label_at = max((0, 1), key=rank)
    known = [len(cells) == 2 and cells[label_at].strip().lower() in classes for _, cells in records]
    if len(known) > 1 and not known[0] and all(known[1:]):
        raise BadCorpus(
            f"{path}: line 1: expected a header with text ({', '.join(TEXT_NAMES)}) and label "
            f"({', '.join(LABEL_NAMES)}), got {short(records[0][1])}; rename its columns"
        )
    for line, cells in records:
        yield _Row(line, *_cells(path, line, cells, 2, delimiter, 1 - label_at, label_at))


def _unknown_label(path: Path, row: _Row, rows: Sequence[_Row], classes: Mapping[str, str]) -> BadCorpus:
    """Return the error for a label of no class, with the option that says what all such labels mean."""
    where = f"{path}: line {row.line}: expected label {one_of(CLASSES)}, got {short(row.label)}"
    labels = dict.fromkeys(other.label for other in rows)
    if len(labels) > MOST_LABELS or max(map(len, labels)) > LONGEST_LABEL:
        return BadCorpus(f"{where}, one of {len(labels):,} different ones; is it in the column of labels?")
    unknown = sorted(label for label in labels if label.lower() not in classes)
    entries = ",".join(f"{label}={SUGGESTED.get(label.lower(), 'CLASS')}" for label in unknown)
    return BadCorpus(
        f'{where}; its labels are {", ".join(sorted(labels))}: say what they mean with --label-map "{entries}", where '
        f"each class is {one_of(CLASSES)}"
    )
