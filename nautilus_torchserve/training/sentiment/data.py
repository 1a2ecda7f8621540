"""The parts that a sentiment model is fitted, stopped and evaluated on, with no sentence in two of them."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nautilus_torchserve.training.sentiment.label_files import load_labelled, source_of
from nautilus_torchserve.training.sentiment.news_corpus import CLASSES, BadCorpus, Sentence, load_corpus

CORPUS = Path(__file__).parent / "corpus"
"""The project's own sentences."""
HELD_OUT_SHARE = 0.1
"""Share held out of sentences without topic, where there is no corpus."""
Sentences = tuple[Sentence, ...]


@dataclass(frozen=True)
class SentimentData:
    """Labelled sentences in three parts."""

    sources: tuple[str, ...]
    """Files and corpora of the sentences."""
    train: Sentences
    validation: Sentences
    """Decides when to stop, and the temperature."""
    held_out: Sentences
    """Sentences that scores are measured on; nothing is chosen by them."""
    repeated: int
    """Sentences of a user's files left out: an earlier or a held-out one has the same text."""
    relabelled: int
    """Repeated sentences that had another label."""

    @property
    def sha256(self) -> str:
        """SHA-256 of every sentence, its label and the part it is in."""
        parts = [
            [[sentence.text, sentence.label, sentence.topic, sentence.style] for sentence in part]
            for part in (self.train, self.validation, self.held_out)
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def unseen(self, sentences: Iterable[Sentence]) -> Sentences:
        """Return the sentences that nothing was fitted on or stopped by."""
        seen = {_key(sentence.text) for part in (self.train, self.validation) for sentence in part}
        return tuple(sentence for sentence in sentences if _key(sentence.text) not in seen)


def load_sentiment_data(
    own: Sequence[Path] = (),
    corpus: Path | None = CORPUS,
    validation_share: float = 0.1,
    seed: int = 1,
    label_map: Mapping[str, str] | None = None,
) -> SentimentData:
    """Read the corpus and a user's files, and split them.

    Whole subtopics of the corpus are held out, as its ``held_out.txt`` says, and whole others are for
    validation, as ``seed`` draws them. A user's sentences have no topic: a hash of each decides, and they are
    held out only where there is no corpus.

    Parameters
    ----------
    own : sequence of Path
        Files of labelled sentences, see `load_labelled`.
    corpus : Path, optional
        A folder as ``corpus/news`` is; None leaves it out.
    label_map : mapping of str to str, optional
        Classes of the files' own labels, see `load_labelled`.

    Raises
    ------
    BadCorpus
        A file cannot be read, or a part would lack a class.
    """
    if corpus is None and not own:
        raise BadCorpus("expected a file of labelled sentences where the corpus is left out, got none")
    loaded = load_corpus(corpus) if corpus is not None else None
    held_out = list(loaded.held_out) if loaded else []
    fresh, repeated, relabelled = _fresh([*loaded.train, *held_out] if loaded else [], own, label_map)
    train, validation = _by_topic(loaded.train, validation_share, seed) if loaded else ([], [])
    for sentence in fresh:
        if loaded is None and _place("held out", sentence) < HELD_OUT_SHARE:
            held_out.append(sentence)
        else:
            (validation if _place(f"validation {seed}", sentence) < validation_share else train).append(sentence)
    sources = [
        *(["corpus/news" if corpus == CORPUS else str(corpus)] if corpus else []),
        *(source_of(path, label_map) for path in own),
    ]
    data = SentimentData(tuple(sources), tuple(train), tuple(validation), tuple(held_out), repeated, relabelled)
    for name in ("train", "validation", "held_out"):
        _refuse_lacking(name.replace("_", "-"), getattr(data, name), data.sources)
    return data


def _fresh(
    known: Sequence[Sentence], own: Sequence[Path], label_map: Mapping[str, str] | None
) -> tuple[list[Sentence], int, int]:
    """Return a user's new sentences, the number of repeated ones, and of those the number labelled otherwise."""
    labels = {_key(sentence.text): sentence.label for sentence in known}
    fresh, repeated, relabelled = [], 0, 0
    for path in own:
        for sentence in load_labelled(path, label_map):
            key = _key(sentence.text)
            if key in labels:
                repeated += 1
                relabelled += labels[key] != sentence.label
            else:
                labels[key] = sentence.label
                fresh.append(sentence)
    return fresh, repeated, relabelled


def _by_topic(sentences: Sequence[Sentence], share: float, seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """Move whole subtopics into the second part, drawn until it has its share; return both parts."""
    topics = sorted({sentence.topic for sentence in sentences})
    counts = {topic: sum(sentence.topic == topic for sentence in sentences) for topic in topics}
    drawn: set[str] = set()
    for place in np.random.default_rng(seed).permutation(len(topics)):
        if sum(counts[topic] for topic in drawn) >= share * len(sentences):
            break
        drawn.add(topics[place])
    kept = [sentence for sentence in sentences if sentence.topic not in drawn]
    return kept, [sentence for sentence in sentences if sentence.topic in drawn]


def _refuse_lacking(part: str, sentences: Sequence[Sentence], sources: Sequence[str]) -> None:
    lacking = [name for name in CLASSES if all(sentence.label != name for sentence in sentences)]
    if lacking:
        raise BadCorpus(
            f"{', '.join(sources)}: expected sentences of every class in the {part} part, "
            f"got {len(sentences)} sentences without {', '.join(lacking)}"
        )


def _place(purpose: str, sentence: Sentence) -> float:
    """Return a number in [0, 1) that depends on purpose and text alone."""
    digest = hashlib.sha256(f"{purpose}\n{_key(sentence.text)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _key(text: str) -> str:
    """Return a key that texts share which differ in spaces and case only."""
    return " ".join(text.casefold().split())
