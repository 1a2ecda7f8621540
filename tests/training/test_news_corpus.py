"""The corpus is what its guidelines say; users' own files are read or refused by line."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.training.sentiment.data import CORPUS
from nautilus_torchserve.training.sentiment.news_corpus import (
    CLASSES,
    BadCorpus,
    BadLabelMap,
    Corpus,
    Sentence,
    load_corpus,
    load_labelled,
    parse_label_map,
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
    found: dict[str, set[str]] = {}
    for sentence in everything(corpus):
        found.setdefault(sentence.topic, set()).add(sentence.label)

    assert all(len(labels) >= 2 for labels in found.values())


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


TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(TEXTS, st.sampled_from(CLASSES)), min_size=1, max_size=20))
def test_at_lines_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("at") / "mine.txt"
    rows = [("first", "neutral"), *rows]
    path.write_text("".join(f"{text}@{label}\n" for text, label in rows), encoding="utf-8")

    read = load_labelled(path)

    assert [(sentence.text, sentence.label) for sentence in read] == [(text.strip(), label) for text, label in rows]


def test_a_csv_needs_only_text_and_label(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('Label,id,Text\npositive,1,"Up, at last"\nNEGATIVE,2,"He said ""no"""\n', encoding="utf-8")

    assert load_labelled(path) == (Sentence("Up, at last", "positive"), Sentence('He said "no"', "negative"))


@pytest.mark.parametrize(
    ("content", "label_map"),
    [
        ("text,label\nUp,2\nFlat,1\nDown,0\n", "0=negative,1=neutral,2=positive"),
        ("text,label\nUp,Bullish\nFlat,none\nDown,Bearish\n", "bullish=positive,Bearish=negative,none=neutral"),
        ("Sentence,Sentiment\nUp,positive\nFlat,neutral\nDown,negative\n", ""),
        ("Sentiment;Id;Headline\npositive;1;Up\nneutral;2;Flat\nnegative;3;Down\n", ""),
        ('positive,"Up"\nneutral,Flat\nnegative,Down\n', ""),
        ("Up\t1\nFlat\t0\nDown\t-1\n", "-1=negative,0=neutral,1=positive"),
        ("Up@1\nFlat@0\nDown@-1\n", "-1=negative,0=neutral,1=positive"),
    ],
    ids=["numbers", "bullish", "other names", "label first", "no header", "tabs", "at lines"],
)
def test_labels_of_other_corpora_mean_what_the_user_says(tmp_path: Path, content: str, label_map: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(content)

    sentences = load_labelled(path, parse_label_map(label_map) if label_map else {})

    assert [(each.text, each.label) for each in sentences] == [
        ("Up", "positive"),
        ("Flat", "neutral"),
        ("Down", "negative"),
    ]


@pytest.mark.parametrize("text", ["0", "0=good", "0=negative,0=positive", "=positive", "0=negative,"])
def test_a_label_map_names_each_label_once(text: str) -> None:
    with pytest.raises(BadLabelMap, match="expected each label once, as LABEL=negative, neutral or positive"):
        parse_label_map(text)


def test_latin_1_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "phrases.txt"
    path.write_bytes("Värikko steigerte den Gewinn .@positive\n".encode("latin-1"))

    assert load_labelled(path)[0].text == "Värikko steigerte den Gewinn ."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "got an empty file"),
        ("text,label\n", "got only a header"),
        ("Up it goes\n", "line 1: expected text@label, or a CSV header with one column of text (text, sentence,"),
        ("Up it goes@good\n", "line 1: expected label negative, neutral or positive, got 'good'; say what the file's"),
        (
            "text,label\nUp,2\nDown,0\n",
            "line 2: expected label negative, neutral or positive, got '2'; say what the file's labels "
            "mean with --label-map 2=...,0=...",
        ),
        ("text,label\nUp\n", "line 2: expected a text and a label, got ['Up']"),
        ("Up@positive\n @negative\n", "line 2: expected a sentence, got none"),
        ('text,label\n"Up,positive\n', "expected comma-separated values"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content)

    with pytest.raises(BadCorpus, match=re.escape(message)) as caught:
        load_labelled(path)

    assert "mine.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "held_out", "message"),
    [
        ("positive,a,wire,Up it goes\npositive,b,wire,up  it goes\n", "t/a", "expected every sentence once"),
        ("positive,a,wire,Up it goes\n", "t/z", "expected subtopics of the corpus, got t/z"),
        ("positive,a,radio,Up it goes\n", "t/a", "line 2: expected style wire, press or social, got 'radio'"),
        ("positive,a,wire,Up, it goes\n", "t/a", "line 2: expected 4 columns"),
    ],
)
def test_a_corpus_that_is_not_in_order_is_refused(tmp_path: Path, rows: str, held_out: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(f"label,subtopic,style,text\n{rows}")
    (tmp_path / "held_out.txt").write_text(held_out)

    with pytest.raises(BadCorpus, match=re.escape(message)):
        load_corpus(tmp_path)
