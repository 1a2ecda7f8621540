"""The tables of a sentiment model's evaluation, as HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

from nautilus_torchserve.reporting.evaluation.price_tables import DASH, points, reading
from nautilus_torchserve.reporting.fragments import Cell, change, number, share, share_span, span, table

SCORES = {"accuracy": "Accuracy", "macro_f1": "Macro-F1"}
"""Key of a score -> what it is called."""
_F1_DIGITS = 3


def scores_table(scores: Mapping[str, Mapping[str, Any]], bootstrap: Mapping[str, Any]) -> str:
    """The model and the baselines on the held-out sentences."""
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            (share(score["accuracy"], 1), share_span(score["accuracy_interval"])),
            (number(score["macro_f1"], _F1_DIGITS), _f1_span(score["macro_f1_interval"])),
        )
        for name, score in scores.items()
    ]
    return table(
        f"Held-out sentences, below each score its {bootstrap['confidence']:.0%} interval from "
        f"{bootstrap['resamples']:,} resamplings of the {bootstrap['groups']:,} subtopics.",
        ("Reader", *SCORES.values()),
        rows,
    )


def gains_table(gains: Mapping[str, Mapping[str, Any]]) -> str:
    """What the model gains on the best baseline of each score, and what its interval says."""
    rows: list[tuple[Cell, ...]] = []
    for key, name in SCORES.items():
        gain = gains[key]
        value, ends = (
            (points(gain["gain"]) + " pp", span(gain["interval"], points, " pp"))
            if key == "accuracy"
            else (change(gain["gain"]), span(gain["interval"], change))
        )
        rows.append(((name, f"on {gain['best_baseline']}"), (value, ends), reading(gain["interval"])))
    return table("On the best baseline of each score: more is better.", ("Score", "Gain", "The model is"), rows, (2,))


def classes_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Precision, recall and F1 of each class."""
    keys = ("precision", "recall", "f1")
    return table(
        "Precision: of those said, the share that was. Recall: of those that were, the share said.",
        ("Class", "Sentences", "Precision", "Recall", "F1"),
        [(row["class"], f"{row['support']:,}", *(number(row[key], _F1_DIGITS) for key in keys)) for row in rows],
    )


def bins_table(calibration: Mapping[str, Any]) -> str:
    """The reliability diagram's numbers."""
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
        "Sentences by the probability of the class that was said, before and after the temperature.",
        ("Probability", "Sentences", "Said", "Came true"),
        rows,
    )


def groups_table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Share of right answers in each topic or style, everybody's."""
    names = list(rows[0]["accuracy"]) if rows else []
    return table(
        "Share of the held-out sentences read right.",
        (title, "Sentences", *names),
        [(row["name"], f"{row['sentences']:,}", *(share(row["accuracy"][name], 1) for name in names)) for row in rows],
    )


def benchmark_table(benchmark: Mapping[str, Any]) -> str:
    """How everybody reads a user's own labelled file, and what of it was not read, or not to its end."""
    facts = [f"{benchmark['source']}: {benchmark['sentences']:,} sentences"]
    if benchmark["left_out"]:
        facts.append(f"{benchmark['left_out']:,} others left out, which the model was fitted on or stopped by")
    if benchmark["cut"]:
        facts.append(f"{benchmark['cut']:,} cut, as they are longer than the model reads at once")
    facts.append(f"calibration error {number(benchmark['ece'])}")
    return table(
        "; ".join(facts) + ".",
        ("Reader", *SCORES.values()),
        [
            (name, share(score["accuracy"], 1), number(score["macro_f1"], _F1_DIGITS))
            for name, score in benchmark["scores"].items()
        ],
    )


def wrong_table(wrong: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """Every sentence read otherwise than labelled, with all probabilities; marked which was said and which labelled."""
    rows: list[tuple[Cell, ...]] = []
    for each in wrong:
        marks = {each["said"]: "said", each["label"]: "labelled"}
        probabilities = ((share(each["probabilities"][name], 0), marks.get(name, "")) for name in classes)
        topic = each["topic"].replace("/", ": ").replace("_", " ")
        where = ", ".join(part for part in (topic, each["style"]) if part) or DASH
        rows.append(((each["text"], where), *probabilities))
    return table("The surest mistakes first.", ("Sentence", *(name.capitalize() for name in classes)), rows)


def parts_table(parts: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """What was fitted on, stopped by and judged on."""
    return table(
        "No subtopic and no sentence is in two parts.",
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
