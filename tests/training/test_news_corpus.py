"""The corpus is what its guidelines say."""

import re
from collections import Counter
from pathlib import Path

import pytest

from nautilus_torchserve.training.sentiment.data import CORPUS
from nautilus_torchserve.training.sentiment.news_corpus import (
    CLASSES,
    BadCorpus,
    Corpus,
    Sentence,
    load_corpus,
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus(CORPUS)


def everything(corpus: Corpus) -> tuple[Sentence, ...]:
    return corpus.train + corpus.held_out


def words(sentence: Sentence) -> frozenset[str]:
    return frozenset(re.findall(r"[\w$%']+", sentence.text.lower()))


def test_there_are_sentences_enough_in_balanced_classes(corpus: Corpus) -> None:
    sentences = everything(corpus)
    labels = Counter(sentence.label for sentence in sentences)

    assert len(sentences) >= 1_500
    assert set(labels) == set(CLASSES)
    assert min(labels.values()) > 0.3 * len(sentences)


def test_every_topic_of_the_news_is_there(corpus: Corpus) -> None:
    topics = {sentence.topic.partition("/")[0] for sentence in everything(corpus)}

    assert topics >= {
        *("earnings", "guidance", "mergers", "analysts", "credit", "legal", "management"),
        *("products", "supply", "macro", "rates", "fx", "commodities", "crypto"),
    }


def test_a_tenth_is_held_out_in_whole_subtopics_of_every_topic(corpus: Corpus) -> None:
    share = len(corpus.held_out) / len(everything(corpus))
    trained_on = {sentence.topic for sentence in corpus.train}
    held_out = {sentence.topic for sentence in corpus.held_out}

    assert 0.08 < share < 0.12
    assert not trained_on & held_out
    assert {topic.partition("/")[0] for topic in held_out} == {topic.partition("/")[0] for topic in trained_on}


def test_a_subtopic_does_not_give_its_label_away(corpus: Corpus) -> None:
    labels_by_topic: dict[str, set[str]] = {}
    for sentence in everything(corpus):
        labels_by_topic.setdefault(sentence.topic, set()).add(sentence.label)

    assert all(len(labels) >= 2 for labels in labels_by_topic.values())


def test_no_two_sentences_are_nearly_the_same(corpus: Corpus) -> None:
    """Written one by one, not by template: no pair shares half its words."""
    sets = [words(sentence) for sentence in everything(corpus)]
    holders: dict[str, list[int]] = {}
    for index, some in enumerate(sets):
        rarest = sorted(some, key=lambda word: len(holders.get(word, ())))[: len(some) // 2 + 1]
        for other in {other for word in rarest for other in holders.get(word, ())}:
            assert len(some & sets[other]) < 0.5 * len(some | sets[other])
        for word in some:
            holders.setdefault(word, []).append(index)


def test_sentences_are_of_readable_length(corpus: Corpus) -> None:
    lengths = [len(sentence.text.split()) for sentence in everything(corpus)]

    assert min(lengths) >= 4
    assert max(lengths) <= 45


@pytest.mark.parametrize(
    ("rows", "held_out", "message"),
    [
        ("positive,a,wire,Up it goes\npositive,b,wire,up  it goes\n", "t/a", "expected every sentence once"),
        ("positive,a,wire,Up it goes\n", "t/z", "expected subtopics of the corpus, got t/z"),
        ("positive,a,radio,Up it goes\n", "t/a", "line 2: expected style wire, press or social, got 'radio'"),
        ("positive,a,wire,Up, it goes\n", "t/a", "line 2: expected 4 columns"),
    ],
)
def test_invalid_corpus_is_refused(tmp_path: Path, rows: str, held_out: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(f"label,subtopic,style,text\n{rows}")
    (tmp_path / "held_out.txt").write_text(held_out)

    with pytest.raises(BadCorpus, match=re.escape(message)):
        load_corpus(tmp_path)
