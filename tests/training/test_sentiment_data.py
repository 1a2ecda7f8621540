from pathlib import Path

import pytest
from sentiment_sample import lines, write_sentences

from nautilus_torchserve.training.sentiment.data import CORPUS, SentimentData, load_sentiment_data
from nautilus_torchserve.training.sentiment.news_corpus import BadCorpus

CLASSES = {"negative", "neutral", "positive"}


def parts(data: SentimentData) -> tuple[set[str], set[str], set[str]]:
    return (
        {sentence.text for sentence in data.train},
        {sentence.text for sentence in data.validation},
        {sentence.text for sentence in data.held_out},
    )


def write_corpus(folder: Path, topics: int = 10, of_each: int = 6) -> Path:
    folder.mkdir()
    rows = [
        f"{label},topic_{topic},wire,Sentence {number} of {topic}"
        for topic in range(topics)
        for number, label in zip(range(of_each), [*sorted(CLASSES)] * of_each, strict=False)
    ]
    (folder / "news.csv").write_text("\n".join(["label,subtopic,style,text", *rows]) + "\n")
    (folder / "held_out.txt").write_text("news/topic_0\n")
    return folder


def test_no_subtopic_and_no_sentence_is_in_two_parts_of_the_corpus() -> None:
    data = load_sentiment_data()

    topics = [{sentence.topic for sentence in part} for part in (data.train, data.validation, data.held_out)]
    train, validation, held_out = parts(data)
    assert not topics[0] & topics[1]
    assert not (topics[0] | topics[1]) & topics[2]
    assert topics[2] == set((CORPUS / "held_out.txt").read_text().split())
    assert not train & validation
    assert not (train | validation) & held_out
    assert 0.1 <= len(validation) / len(train | validation) < 0.12
    assert data.sources == ("corpus/news",)


def test_the_seed_decides_the_validation_part_and_nothing_else(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    first, again, other = (load_sentiment_data(corpus=corpus, validation_share=0.3, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert first.sha256 == again.sha256 != other.sha256
    assert first.validation != other.validation
    assert first.held_out == other.held_out


def test_users_sentences_are_for_training_and_validation_only(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    own = write_sentences(tmp_path / "own.txt")
    without, data = (load_sentiment_data(files, corpus) for files in ([], [own]))

    texts = {line.rpartition("@")[0] for line in lines(120)}
    train, validation, _ = parts(data)
    assert data.held_out == without.held_out
    assert texts <= train | validation
    assert 0 < len(texts & validation) < 30
    assert data.sources == (str(corpus), str(own))


def test_held_out_sentence_in_a_users_file_is_not_trained_on(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    own = tmp_path / "own.txt"
    own.write_text("\n".join([*lines(30), "SENTENCE 0  of 0@positive", "Sentence 1 of 3@neutral"]))
    data = load_sentiment_data([own], corpus)

    folded = {" ".join(text.casefold().split()) for text in parts(data)[0] | parts(data)[1]}
    assert "sentence 0 of 0" not in folded
    assert (data.repeated, data.relabelled) == (2, 1)


def test_sentence_in_two_files_counts_once(tmp_path: Path) -> None:
    own = write_sentences(tmp_path / "own.txt")
    copy = write_sentences(tmp_path / "copy.txt", count=60)

    alone, both = load_sentiment_data([own], None), load_sentiment_data([own, copy], None)

    assert (both.repeated, both.relabelled) == (60, 0)
    assert parts(both) == parts(alone)


def test_without_corpus_users_sentences_are_held_out_by_their_hash(tmp_path: Path) -> None:
    own = write_sentences(tmp_path / "own.txt", count=600)
    first, other = (load_sentiment_data([own], None, seed=seed) for seed in (1, 2))

    train, validation, held_out = parts(first)
    assert len(train) + len(validation) + len(held_out) == 600
    assert 30 < len(held_out) < 100
    assert parts(other)[2] == held_out
    assert parts(other)[1] != validation


def test_fitted_sentences_are_not_unseen(tmp_path: Path) -> None:
    data = load_sentiment_data([write_sentences(tmp_path / "own.txt")], None)

    assert data.unseen([*data.train, *data.validation, *data.held_out]) == data.held_out


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (lambda line: not line.endswith("neutral"), r"own\.txt: .* in the train part, got .* without neutral"),
        (lambda line: line in lines(3), r"expected sentences of every class in the \w+ part, got \d sentences without"),
    ],
    ids=["a class missing", "hardly anything"],
)
def test_a_part_without_a_class_is_refused(kept, expected: str, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("\n".join(line for line in lines(120) if kept(line)))

    with pytest.raises(BadCorpus, match=expected):
        load_sentiment_data([own], None)


def test_no_corpus_and_no_file_is_refused() -> None:
    with pytest.raises(BadCorpus, match="expected a file of labelled sentences where the corpus is left out, got none"):
        load_sentiment_data([], None)
