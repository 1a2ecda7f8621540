"""Files of labelled sentences are read as their authors mean them, or refused by line with the remedy."""

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.training.sentiment.label_files import load_labelled, parse_label_map
from nautilus_torchserve.training.sentiment.news_corpus import CLASSES, BadCorpus, Sentence
from nautilus_torchserve.user_error import InvalidArgument

TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(TEXTS, st.sampled_from(CLASSES)), min_size=1, max_size=20))
def test_at_lines_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("at") / "mine.txt"
    rows = [("first", "neutral"), *rows]
    path.write_text("".join(f"{text}@{label}\n" for text, label in rows), encoding="utf-8")

    sentences = load_labelled(path)

    assert [(sentence.text, sentence.label) for sentence in sentences] == [
        (text.strip(), label) for text, label in rows
    ]


UP, DOWN, FLAT = "Orders rose, then margins", 'The bank said "no"', "The board meets in Malmö"
SENTENCES = (Sentence(UP, "positive"), Sentence(DOWN, "negative"), Sentence(FLAT, "neutral"))
NUMBERS = "0=negative,1=positive,2=neutral"


def csv_of(header: str, labels: tuple[str, str, str], *, label_first: bool = False, delimiter: str = ",") -> str:
    texts = [f'"{UP}"', f'"{DOWN}"'.replace('"no"', '""no""'), f'"{FLAT}"']
    pairs = [(label, text) if label_first else (text, label) for text, label in zip(texts, labels, strict=True)]
    return "\n".join([*([header] if header else []), *(delimiter.join(pair) for pair in pairs), ""])


WORDS = ("positive", "negative", "neutral")
FILES: dict[str, tuple[str | bytes, str | None]] = {
    "names of another corpus": (csv_of("Sentence,Sentiment", WORDS), None),
    "label first": (csv_of("Label,Text", WORDS, label_first=True), None),
    "label first, without a header": (csv_of("", WORDS, label_first=True), None),
    "without a header": (csv_of("", WORDS), None),
    "capitals": (csv_of("headline,class", ("POSITIVE", "Negative", " Neutral")), None),
    "numbers": (csv_of("text,label", ("1", "0", "2")), NUMBERS),
    "numbers, without a header": (csv_of("", ("1", "0", "2"), label_first=True), NUMBERS),
    "numbers of pandas": (csv_of("text,label", ("1.0", "0.0", "2.0")), "0.0=negative, 1.0=positive, 2.0=neutral"),
    "words, some of them classes": (
        csv_of("tweet,sentiment", ("Bullish", "Bearish", "neutral")),
        "bullish=positive,BEARISH=negative",
    ),
    "tabs": (csv_of("text\tlabel", WORDS, delimiter="\t"), None),
    "semicolons, byte order mark and CRLF": (
        "\ufeff" + csv_of("label;text", WORDS, label_first=True, delimiter=";").replace("\n", "\r\n"),
        None,
    ),
    "Latin-1": (csv_of("", WORDS, label_first=True).encode("latin-1"), None),
    "at-lines in Latin-1": (f"{UP}@positive\n{DOWN}@negative\n\n{FLAT} .@neutral\n".encode("latin-1"), None),
    "at-lines of numbers": (f"{UP}@1\n{DOWN}@0\n{FLAT}@2\n", NUMBERS),
    "UTF-16": (csv_of("text,label", WORDS).encode("utf-16"), None),
    "more columns": (
        'id,sentiment,label,text\n1,0.9,positive,"Orders rose, then margins"\n'
        '2,0.1,negative,"The bank said ""no"""\n3,0.5,neutral,The board meets in Malmö\n',
        None,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_file_is_read_as_its_author_means_it(tmp_path: Path, name: str) -> None:
    content, label_map = FILES[name]
    path = tmp_path / "other.csv.gz"
    path.write_bytes(gzip.compress(content.encode() if isinstance(content, str) else content))

    sentences = load_labelled(path, None if label_map is None else parse_label_map(label_map))

    assert [(sentence.text.removesuffix(" ."), sentence.label) for sentence in sentences] == [
        (sentence.text, sentence.label) for sentence in SENTENCES
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "got an empty file"),
        ("text,label\n", "got only a header"),
        ("Up it goes\n", "line 1: expected text@label, or a CSV header with text (text, sentence,"),
        ("Up@positive\nDown@negative\nSame\n", "line 3: expected text@label as in other lines, got 'Same'"),
        ("Up@positive\n @negative\n", "line 2: expected a sentence, got none"),
        ('text,label\nUp,neutral\n"Up,positive\n', "line 3: expected cells separated by ',', got '\"Up,positive'"),
        ("text,label\nUp, at last,positive\n", "line 2: expected 2 cells separated by ',', got 3"),
        ('text,label\n"Up,positive\nDown",neutral\n', "line 2: expected one sentence, got several rows in a quoted"),
        ("text,label,Text\nUp,positive,Up\n", "expected one column of text (text, sentence, "),
        ("Post,Feeling\nUp,positive\nDown,negative\n", "line 1: expected a header with text (text, sentence, "),
        ("Sentence,Feeling\nUp,positive\n", "line 1: expected text@label, or a CSV header"),
        (
            csv_of("text,label", ("1", "0", "2")),
            "line 2: expected label negative, neutral or positive, got '1'; its labels are 0, 1, 2: say what they mean "
            'with --label-map "0=CLASS,1=CLASS,2=CLASS", where each class is negative, neutral or positive',
        ),
        (csv_of("", ("1", "0", "1"), label_first=True), 'its labels are 0, 1: say what they mean with --label-map "0='),
        (
            csv_of("text,label", ("Bullish", "Bearish", "Neutral")),
            'Bearish, Bullish, Neutral: say what they mean with --label-map "Bearish=negative,Bullish=positive"',
        ),
        ("Up it goes@good\n", "line 1: expected label negative, neutral or positive, got 'good'; its labels are good"),
        (
            "label,text\n" + "".join(f"{at / 100},Up\n" for at in range(50)),
            "got '0.0', one of 50 different ones; is it in the column of labels?",
        ),
    ],
)
def test_file_that_cannot_be_read_is_refused_with_line_and_remedy(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(content)

    with pytest.raises(BadCorpus, match=re.escape(message)) as caught:
        load_labelled(path)

    assert "mine.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0=negative,1", "expected LABEL=CLASS with class negative, neutral or positive"),
        ("0=bad", "got '0=bad'"),
        ("=positive", "got '=positive'"),
        ("0=CLASS", "got '0=CLASS'"),
        ("up=positive,UP=negative", "expected one class for label 'up', got positive and negative"),
    ],
)
def test_label_map_without_meaning_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        parse_label_map(text)
