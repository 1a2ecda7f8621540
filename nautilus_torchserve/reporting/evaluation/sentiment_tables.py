"""The tables of a sentiment model's evaluation, as HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

from nautilus_torchserve.reporting.evaluation.price_tables import GainFormat, gain_rows, points
from nautilus_torchserve.reporting.fragments import DASH, Cell, change, number, share, share_span, span, table

SCORES = {"accuracy": "Accuracy", "macro_f1": "Macro-F1"}
"""Key of a score -> its name."""
_GAINS: dict[str, GainFormat] = {
    "accuracy": (SCORES["accuracy"], "gain", points, " pp"),
    "macro_f1": (SCORES["macro_f1"], "gain", change, ""),
}


def scores_table(scores: Mapping[str, Mapping[str, Any]], bootstrap: Mapping[str, Any]) -> str:
    """Return the scores of model and baselines on the held-out sentences."""
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            (share(score["accuracy"], 1), share_span(score["accuracy_interval"])),
            (number(score["macro_f1"]), span(score["macro_f1_interval"], number)),
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
    return table(
        "Gain over the best baseline of each score: higher is better.",
        ("Score", "Gain", "Verdict"),
        gain_rows(gains, _GAINS),
        (2,),
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
        [(name, share(score["accuracy"], 1), number(score["macro_f1"])) for name, score in benchmark["scores"].items()],
    )


def wrong_table(wrong: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """Return the misclassified sentences with all probabilities; the predicted and the labelled class are marked."""
    rows: list[tuple[Cell, ...]] = []
    for sentence in wrong:
        marks = {sentence["predicted"]: "predicted", sentence["label"]: "labelled"}
        probabilities = ((share(sentence["probabilities"][name], 0), marks.get(name, "")) for name in classes)
        topic = sentence["topic"].replace("/", ": ").replace("_", " ")
        source = ", ".join(part for part in (topic, sentence["style"]) if part) or DASH
        rows.append(((sentence["text"], source), *probabilities))
    return table(
        "Sorted by the probability of the predicted class, descending.",
        ("Sentence", *(name.capitalize() for name in classes)),
        rows,
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
