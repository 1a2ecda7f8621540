"""The tables of a sentiment model's evaluation, as HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

from nautilus_torchserve.reporting.evaluation.price_tables import DASH, points, reading
from nautilus_torchserve.reporting.fragments import Cell, change, number, share, share_span, span, table

SCORES = {"accuracy": "Accuracy", "macro_f1": "Macro-F1"}
"""Key of a score -> its name."""
_F1_DIGITS = 3


def scores_table(scores: Mapping[str, Mapping[str, Any]], bootstrap: Mapping[str, Any]) -> str:
    """Return the scores of model and baselines on the held-out sentences."""
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            (share(score["accuracy"], 1), share_span(score["accuracy_interval"])),
            (number(score["macro_f1"], _F1_DIGITS), _f1_span(score["macro_f1_interval"])),
        )
        for name, score in scores.items()
    ]
    return table(
        f"Held-out sentences; below each score: its {bootstrap['confidence']:.0%} bootstrap interval from "
        f"{bootstrap['resamples']:,} resamples of the {bootstrap['groups']:,} subtopics.",
        ("Model", *SCORES.values()),
        rows,
    )


def gains_table(gains: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the model's gains over the best baseline of each score, with their intervals and verdicts."""
    rows: list[tuple[Cell, ...]] = []
    for key, name in SCORES.items():
        gain = gains[key]
        value, ends = (
            (points(gain["gain"]) + " pp", span(gain["interval"], points, " pp"))
            if key == "accuracy"
            else (change(gain["gain"]), span(gain["interval"], change))
        )
        rows.append(((name, f"vs. {gain['best_baseline']}"), (value, ends), reading(gain["interval"])))
    return table(
        "Gain over the best baseline of each score: higher is better.", ("Score", "Gain", "The model is"), rows, (2,)
    )


def classes_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return precision, recall and F1 of each class."""
    keys = ("precision", "recall", "f1")
    return table(
        "Precision: share of a class's predictions that are correct. Recall: share of a class that is recognised.",
        ("Class", "Sentences", "Precision", "Recall", "F1"),
        [(row["class"], f"{row['support']:,}", *(number(row[key], _F1_DIGITS) for key in keys)) for row in rows],
    )


def bins_table(calibration: Mapping[str, Any]) -> str:
    """Return the numbers of the reliability diagram."""
    rows = [
        (
            (f"{number(row['above'])} to {number(row['to'])}", when),
            f"{row['count']:,}",
            share(row["confidence"], 1),
            share(row["right"], 1),
        )
        for when in ("before", "after")
        for row in calibration[when]["bins"]
    ]
    return table(
        "Sentences binned by the probability of the predicted class, before and after temperature scaling.",
        ("Probability", "Sentences", "Predicted", "Observed"),
        rows,
    )


def groups_table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the accuracy of model and baselines in each topic or style."""
    names = list(rows[0]["accuracy"]) if rows else []
    return table(
        "Accuracy on the held-out sentences.",
        (title, "Sentences", *names),
        [(row["name"], f"{row['sentences']:,}", *(share(row["accuracy"][name], 1) for name in names)) for row in rows],
    )


def benchmark_table(benchmark: Mapping[str, Any]) -> str:
    """Return the scores of model and baselines on a user's labelled file, and the numbers of excluded sentences."""
    facts = [f"{benchmark['source']}: {benchmark['sentences']:,} sentences"]
    if benchmark["left_out"]:
        facts.append(f"{benchmark['left_out']:,} others excluded, as they were used for training or early stopping")
    if benchmark["cut"]:
        facts.append(f"{benchmark['cut']:,} truncated to the model's maximum length")
    facts.append(f"calibration error {number(benchmark['ece'])}")
    return table(
        "; ".join(facts) + ".",
        ("Model", *SCORES.values()),
        [
            (name, share(score["accuracy"], 1), number(score["macro_f1"], _F1_DIGITS))
            for name, score in benchmark["scores"].items()
        ],
    )


def wrong_table(wrong: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """Return the misclassified sentences with all probabilities; the predicted and the labelled class are marked."""
    rows: list[tuple[Cell, ...]] = []
    for sentence in wrong:
        marks = {sentence["said"]: "predicted", sentence["label"]: "labelled"}
        probabilities = ((share(sentence["probabilities"][name], 0), marks.get(name, "")) for name in classes)
        topic = sentence["topic"].replace("/", ": ").replace("_", " ")
        source = ", ".join(part for part in (topic, sentence["style"]) if part) or DASH
        rows.append(((sentence["text"], source), *probabilities))
    return table(
        "Sorted by the probability of the wrong class.", ("Sentence", *(name.capitalize() for name in classes)), rows
    )


def parts_table(parts: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """Return the sizes of the training, validation and held-out parts."""
    return table(
        "The parts share no subtopic and no sentence.",
        ("Part", "Sentences", *(name.capitalize() for name in classes), "Subtopics"),
        [
            (
                part["part"],
                f"{part['sentences']:,}",
                *(f"{part['classes'][name]:,}" for name in classes),
                f"{part['topics']:,}",
            )
            for part in parts
        ],
    )


def _f1_span(ends: Sequence[float | None] | None) -> str:
    return span(ends, lambda end: number(end, _F1_DIGITS))
