from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from nautilus_torchserve.training.sentiment.evaluate import (
    BINS,
    class_facts,
    evaluate,
    misclassified_sentences,
    reliability,
)
from nautilus_torchserve.training.sentiment.news_corpus import CLASSES, Sentence
from nautilus_torchserve.training.sentiment.records import scripts

PLACES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60)


def sentences(labels: np.ndarray, topics: int = 8) -> list[Sentence]:
    return [
        Sentence(f"text {at}", CLASSES[label], f"file{at % topics % 3}/topic{at % topics}", ("wire", "press")[at % 2])
        for at, label in enumerate(labels)
    ]


def predicted_classes(random: np.random.Generator, labels: np.ndarray, right: float) -> np.ndarray:
    return np.where(random.random(len(labels)) < right, labels, (labels + random.integers(1, 3, len(labels))) % 3)


@settings(max_examples=25, deadline=None)
@given(PLACES)
def test_class_scores_equal_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = np.array(pairs).T

    facts = class_facts(labels, predicted)

    assert facts["confusion"] == confusion_matrix(labels, predicted, labels=[0, 1, 2]).tolist()
    expected = precision_recall_fscore_support(labels, predicted, labels=[0, 1, 2], zero_division=0)
    for key, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [row[key] or 0 for row in facts["per_class"]] == pytest.approx(values)
    assert facts["per_class"][0]["recall"] is None or 0 in labels


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_a_sure_and_right_model_is_calibrated_and_a_sure_and_wrong_one_is_not(seed: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet((1, 1, 1), 300)
    predicted = probabilities.argmax(axis=1)

    right, wrong = (reliability(np.eye(3)[predicted], labels) for labels in (predicted, (predicted + 1) % 3))
    calibration = reliability(probabilities, random.integers(0, 3, 300))

    assert (right["ece"], wrong["ece"]) == (0.0, 1.0)
    assert sum(row["count"] for row in calibration["bins"]) == 300
    assert len(calibration["bins"]) <= BINS
    gaps = [row["count"] * abs(row["confidence"] - row["right"]) for row in calibration["bins"]]
    assert calibration["ece"] == pytest.approx(sum(gaps) / 300)
    assert all(row["above"] < row["confidence"] <= row["to"] for row in calibration["bins"])


def test_better_model_is_reported_as_better_with_its_interval() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, 600)
    shares = {"model": 0.9, "one": 0.6, "two": 0.5}
    predictions = {name: predicted_classes(random, labels, right) for name, right in shares.items()}

    evaluation = evaluate(sentences(labels, 40), labels, predictions, seed=1)

    assert evaluation["beats_baselines"]
    assert "better than every baseline" in evaluation["edge"]
    for key, gain in evaluation["gains"].items():
        assert gain["best_baseline"] == "one"
        assert gain["gain"] == pytest.approx(evaluation["scores"]["model"][key] - evaluation["scores"]["one"][key])
        low, high = gain["interval"]
        assert 0 < low < gain["gain"] < high
    low, high = evaluation["scores"]["model"]["accuracy_interval"]
    assert low < evaluation["scores"]["model"]["accuracy"] < high
    assert high - low < 0.1


def test_equal_predictions_have_no_gain_and_worse_ones_are_reported() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 3, 300)
    good, bad = predicted_classes(random, labels, 0.9), predicted_classes(random, labels, 0.5)

    same = evaluate(sentences(labels), labels, {"model": good, "one": good}, seed=1)
    worse = evaluate(sentences(labels), labels, {"model": bad, "one": good}, seed=1)

    assert not same["beats_baselines"]
    assert same["gains"]["accuracy"] == {"best_baseline": "one", "gain": 0.0, "interval": [0.0, 0.0]}
    assert "not shown to read" in same["edge"]
    assert not worse["beats_baselines"]
    assert "worse than a simple baseline" in worse["edge"]


def test_sentences_of_one_subtopic_are_resampled_together() -> None:
    """Right on whole subtopics and wrong on others: far less is known than from as many sentences on their own."""
    labels = np.arange(400) % 3
    right = (np.arange(400) % 8) < 6
    predictions = {"model": np.where(right, labels, (labels + 1) % 3), "one": labels}
    together = sentences(labels)
    alone = [replace(sentence, topic="") for sentence in together]

    scored = (evaluate(part, labels, predictions, seed=1)["scores"]["model"] for part in (together, alone))
    wide, narrow = (scores["accuracy_interval"] for scores in scored)

    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_every_topic_and_style_has_its_share_the_weakest_first() -> None:
    labels = np.arange(60) % 3
    predictions = {"model": np.where(np.arange(60) < 30, labels, 0), "one": labels}

    evaluation = evaluate(sentences(labels), labels, predictions, seed=1)

    assert {row["name"] for row in evaluation["by_topic"]} == {"file0", "file1", "file2"}
    assert sum(row["sentences"] for row in evaluation["by_style"]) == 60
    shares = [row["accuracy"]["model"] for row in evaluation["by_topic"]]
    assert shares == sorted(shares)
    overall = sum(row["accuracy"]["model"] * row["sentences"] for row in evaluation["by_topic"]) / 60
    assert overall == pytest.approx(evaluation["scores"]["model"]["accuracy"])


def test_mistakes_are_listed_most_confident_first() -> None:
    labels = np.array([0, 1, 2, 0])
    probabilities = np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]])

    misread = misclassified_sentences(sentences(labels), labels, probabilities)

    assert [row["text"] for row in misread] == ["text 2", "text 1", "text 3"]
    assert [(row["label"], row["predicted"]) for row in misread] == [
        ("positive", "neutral"),
        ("neutral", "negative"),
        ("negative", "positive"),
    ]
    assert misread[0]["probabilities"] == {"negative": 0.1, "neutral": 0.8, "positive": 0.1}


def test_script_counts_from_one_percent_of_the_texts() -> None:
    texts = ["Profit rose"] * 197 + ["12.5 %"] * 50 + ["Прибыль выросла"] * 2 + ["株価"]

    assert scripts(texts) == ["CYRILLIC", "LATIN"]
