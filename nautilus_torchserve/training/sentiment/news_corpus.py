"""Labelled sentences, and the project's own corpus of them."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nautilus_torchserve.user_error import UserError

CLASSES = ("negative", "neutral", "positive")
HELD_OUT = "held_out.txt"
COLUMNS = ("label", "subtopic", "style", "text")
STYLES = ("wire", "press", "social")


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
    """Sentences to train on, and others to evaluate on."""

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
                raise BadCorpus(f"{where}: expected style {one_of(STYLES)}, got {row['style']!r}")
            text, label = _checked(path, reader.line_num, row["text"], row["label"])
            yield Sentence(text, label, f"{path.stem}/{row['subtopic']}", row["style"])


def _checked(path: Path, line: int, text: str, label: str) -> tuple[str, str]:
    text, label = text.strip(), label.strip().lower()
    if not text:
        raise BadCorpus(f"{path}: line {line}: expected a sentence, got none")
    if label not in CLASSES:
        raise BadCorpus(f"{path}: line {line}: expected label {one_of(CLASSES)}, got {label!r}")
    return text, label


def one_of(names: tuple[str, ...]) -> str:
    """Return ``a, b or c``."""
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
