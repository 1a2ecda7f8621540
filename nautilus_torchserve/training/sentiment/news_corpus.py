"""Labelled sentences: the project's own corpus, and files of the two usual formats."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from nautilus_torchserve.user_error import InvalidArgument, UserError

CLASSES = ("negative", "neutral", "positive")
HELD_OUT = "held_out.txt"
COLUMNS = ("label", "subtopic", "style", "text")
TEXT_NAMES = ("text", "sentence", "headline", "title", "tweet")
LABEL_NAMES = ("label", "sentiment", "class", "polarity")
"""Accepted names of the columns of a user's file."""
DELIMITERS = ",;\t|"
MOST_LABELS = 6
"""Most labels that a message lists."""
STYLES = ("wire", "press", "social")


class BadLabelMap(InvalidArgument):
    """A map of labels that names no class, or a label twice."""


class BadCorpus(UserError, ValueError):
    """Labelled text that cannot be read; names file, line and what was expected."""


@dataclass(frozen=True)
class Sentence:
    """One labelled sentence."""

    text: str
    label: str
    """One of `CLASSES`: what a holder of the named asset would feel."""
    topic: str = ""
    """``earnings/revenue_beat``: file and subtopic; empty where the source has none."""
    style: str = ""
    """One of `STYLES`; empty where the source has none."""


@dataclass(frozen=True)
class Corpus:
    """Sentences to train on, and others to be judged by."""

    train: tuple[Sentence, ...]
    held_out: tuple[Sentence, ...]
    """Sentences of subtopics that no sentence of ``train`` has."""


def load_corpus(folder: Path) -> Corpus:
    """Read a folder as ``corpus/news`` is: a CSV a topic, and the subtopics that are held out.

    Raises
    ------
    BadCorpus
        Something is missing, a row cannot be read, a text stands twice, or a held-out subtopic does not exist.
    """
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise BadCorpus(f"{folder}: expected CSV files of sentences, got none")
    held_out_path = folder / HELD_OUT
    if not held_out_path.is_file():
        raise BadCorpus(f"{held_out_path}: expected the held-out subtopics, one per line, got no file")
    sentences = [sentence for path in paths for sentence in _topic(path)]
    _refuse_repeated(folder, sentences)
    held_out = set(held_out_path.read_text(encoding="utf-8").split())
    unknown = sorted(held_out - {sentence.topic for sentence in sentences})
    if unknown:
        raise BadCorpus(f"{held_out_path}: expected subtopics of the corpus, got {', '.join(unknown)}")
    return Corpus(
        train=tuple(sentence for sentence in sentences if sentence.topic not in held_out),
        held_out=tuple(sentence for sentence in sentences if sentence.topic in held_out),
    )


def load_labelled(path: Path, label_map: Mapping[str, str] = MappingProxyType({})) -> tuple[Sentence, ...]:
    """Read a user's file of labelled sentences: CSV, or ``text@label`` lines.

    The latter is the Financial PhraseBank's format (Malo et al. 2014). A CSV's header names a column of `TEXT_NAMES`
    and one of `LABEL_NAMES`, in any order and case; without a header it has two columns, one of them of labels. The
    encoding is UTF-8, or else Latin-1, as the PhraseBank's is.

    Parameters
    ----------
    label_map : mapping
        Label in the file, in lower case -> one of `CLASSES`, see `parse_label_map`. Numbers are never guessed: 0 is
        bearish in one corpus and positive in another.

    Raises
    ------
    BadCorpus
        A line that is not a labelled sentence; names file and line, and for labels how to map them.
    """
    if not path.is_file():
        raise BadCorpus(f"{path}: expected a file of labelled sentences, got none")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if not text.strip():
        raise BadCorpus(f"{path}: expected labelled sentences, got an empty file")
    rows = list(_labelled_rows(path, text, {*CLASSES, *label_map}))
    if not rows:
        raise BadCorpus(f"{path}: expected labelled sentences, got only a header")
    labels = list(dict.fromkeys(label.strip().lower() for _, _, label in rows))
    names = {**{name: name for name in CLASSES}, **label_map}
    unknown = [label for label in labels if label not in names]
    sentences = []
    for line, sentence, label in rows:
        if (label := label.strip().lower()) in unknown:
            raise BadCorpus(
                f"{path}: line {line}: expected label {_one_of(CLASSES)}, got {label!r}; say what the file's labels "
                f"mean with --label-map {','.join(f'{name}=...' for name in unknown[:MOST_LABELS])}"
            )
        sentences.append(Sentence(*_checked(path, line, sentence, names[label])))
    return tuple(sentences)


def parse_label_map(text: str) -> dict[str, str]:
    """Return the map that a text such as ``0=negative,1=neutral,Bullish=positive`` writes, labels in lower case.

    Raises
    ------
    BadLabelMap
    """
    label_map = {}
    for part in text.split(","):
        label, equals, name = (cell.strip().lower() for cell in part.partition("="))
        if not (label and equals) or name not in CLASSES or label in label_map:
            expected = f"each label once, as LABEL={_one_of(CLASSES)}, with commas between"
            raise BadLabelMap(f"expected {expected}, got {part.strip()!r}")
        label_map[label] = name
    return label_map


def _labelled_rows(path: Path, text: str, labels: set[str]) -> Iterator[tuple[int, str, str]]:
    """Yield line, text and label of each row; ``labels`` are known ones, which tell a column of labels."""
    lines = text.splitlines()
    for delimiter in DELIMITERS:
        first = [cell.strip().lower() for cell in next(csv.reader(lines[:1], delimiter=delimiter))]
        of_text = [column for column, name in enumerate(first) if name in TEXT_NAMES]
        of_label = [column for column, name in enumerate(first) if name in LABEL_NAMES]
        if len(of_text) == len(of_label) == 1:
            yield from _csv(path, text, delimiter, of_text[0], of_label[0], has_header=True)
            return
        if len(first) == 2 and (first[0] in labels) != (first[1] in labels):
            column = int(first[1] in labels)
            yield from _csv(path, text, delimiter, 1 - column, column, has_header=False)
            return
    for number, line in enumerate(lines, 1):
        sentence, at, label = line.rpartition("@")
        if not at:
            raise BadCorpus(
                f"{path}: line {number}: expected text@label, or a CSV header with one column of text "
                f"({', '.join(TEXT_NAMES)}) and one of labels ({', '.join(LABEL_NAMES)}), got {line[:60]!r}"
            )
        yield number, sentence, label


def _topic(path: Path) -> Iterator[Sentence]:
    """Yield the sentences of one of the corpus's own files."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise BadCorpus(f"{path}: expected columns {', '.join(COLUMNS)}, got {reader.fieldnames}")
        for row in reader:
            if row.get(None) or None in row.values():
                raise BadCorpus(f"{path}: line {reader.line_num}: expected {len(COLUMNS)} columns, got more or fewer")
            if row["style"] not in STYLES:
                where = f"{path}: line {reader.line_num}"
                raise BadCorpus(f"{where}: expected style {_one_of(STYLES)}, got {row['style']!r}")
            text, label = _checked(path, reader.line_num, row["text"], row["label"])
            yield Sentence(text, label, f"{path.stem}/{row['subtopic']}", row["style"])


def _csv(
    path: Path, text: str, delimiter: str, of_text: int, of_label: int, has_header: bool
) -> Iterator[tuple[int, str, str]]:
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        for number, row in enumerate(reader):
            if not row or (has_header and not number):
                continue
            if len(row) <= max(of_text, of_label):
                raise BadCorpus(f"{path}: line {reader.line_num}: expected a text and a label, got {row}")
            yield reader.line_num, row[of_text], row[of_label]
    except csv.Error as error:
        raise BadCorpus(f"{path}: line {reader.line_num}: expected comma-separated values: {error}") from None


def _checked(path: Path, line: int, text: str, label: str) -> tuple[str, str]:
    text, label = text.strip(), label.strip().lower()
    if not text:
        raise BadCorpus(f"{path}: line {line}: expected a sentence, got none")
    if label not in CLASSES:
        raise BadCorpus(f"{path}: line {line}: expected label {_one_of(CLASSES)}, got {label!r}")
    return text, label


def _one_of(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _refuse_repeated(folder: Path, sentences: list[Sentence]) -> None:
    seen: dict[str, str] = {}
    for sentence in sentences:
        key = " ".join(sentence.text.lower().split())
        if key in seen:
            raise BadCorpus(
                f"{folder}: expected every sentence once, got it in {seen[key]} and {sentence.topic}: {sentence.text!r}"
            )
        seen[key] = sentence.topic
