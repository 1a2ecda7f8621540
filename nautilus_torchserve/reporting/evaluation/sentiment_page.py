"""The evaluation page of a sentiment model: ``index.html``, which needs no other file, and ``evaluation.json``."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import plotly.graph_objects as go

from nautilus_torchserve.reporting.drawing import (
    BUY,
    DOTTED,
    LEGEND,
    LINE,
    MUTED,
    SELL,
    blank_figure,
    reliability_figure,
)
from nautilus_torchserve.reporting.evaluation.price_figures import history_figures
from nautilus_torchserve.reporting.evaluation.price_page import EVALUATION, evaluation_verdict
from nautilus_torchserve.reporting.evaluation.price_tables import MODEL, history_table, points, reliability_table
from nautilus_torchserve.reporting.evaluation.sentiment_tables import (
    benchmark_table,
    gains_table,
    groups_table,
    parts_table,
    scores_table,
    wrong_table,
)
from nautilus_torchserve.reporting.explanation.figure import explanation_picture
from nautilus_torchserve.reporting.fragments import (
    card,
    chart,
    chart_section,
    class_table,
    columns,
    confusion_table,
    details,
    empty_note,
    label_table,
    note_list,
    number,
    optional_chart,
    pair,
    section,
    share,
    share_span,
    span,
)
from nautilus_torchserve.reporting.frame import render_page, write_page

_SYMBOLS = ("diamond-open", "square-open")
_NO_SENTENCES = "There are no held-out sentences."


def write_sentiment(evaluation: Mapping[str, Any], folder: Path) -> Path:
    """Write the page and the same numbers as JSON into `folder`, which is made if missing.

    Each file is written beside its place and moved there once both are complete.

    Parameters
    ----------
    evaluation : mapping
        ``evaluation.json`` of a sentiment model's run folder: what
        `training.sentiment.evaluate.evaluate` gives, and

        ``title``, ``classes`` (names)
        ``calibration``
            ``temperature``; ``before`` and ``after`` with ``ece``, ``log_loss`` (nats) and ``bins``, rows of
            ``above``, ``to``, ``count``, ``confidence``, ``right``.
        ``wrong``
            Rows of ``text``, ``topic``, ``style``, ``label``, ``predicted``, ``probabilities`` (by class).
        ``benchmarks``
            Rows of ``source``, ``sentences``, ``left_out``, ``cut``, ``scores``, ``confusion``, ``per_class``, ``ece``.
        ``explained``
            One sentence's explanation, see `inference.explain.texts.explain_text`.
        ``history``
            ``train_loss`` and ``validation_loss`` (one number an epoch), ``best_epoch`` (from 1).
        ``data``
            ``sources``, ``sha256``, ``parts`` (rows of ``part``, ``sentences``, ``classes``, ``topics``),
            ``repeated``, ``relabelled``.
        ``settings``, ``model_facts``
            Labels and their texts.

    Returns
    -------
    Path
        The page.
    """
    numbers = orjson.dumps(evaluation, option=orjson.OPT_INDENT_2)
    return write_page(folder, render(evaluation), {EVALUATION: numbers})


def render(evaluation: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    drawn = figures(evaluation)
    explained, pictures = explanation_picture(evaluation["explained"])
    sources, parts = evaluation["data"]["sources"], evaluation["data"]["parts"]
    sizes = ", ".join(f"{part['sentences']:,} {part['part']}" for part in parts)
    return render_page(
        title=evaluation["title"],
        lead=f"{', '.join(sources)} \N{MIDDLE DOT} sentences: {sizes}",
        notices=evaluation_verdict(evaluation),
        cards=_key_figures(evaluation),
        sections=[
            _scores(evaluation, drawn),
            section("Accuracy by topic and style", _groups(evaluation, drawn)),
            *_benchmarks(evaluation),
            section("Explanation of one sentence", explained),
            section("Misclassified sentences", _wrong(evaluation)),
            _history(evaluation["history"], drawn),
            section("Data", _data(evaluation["data"], evaluation["classes"])),
            section(
                "Model and configuration",
                columns(
                    label_table("Model", evaluation["model_facts"]), label_table("Settings", evaluation["settings"])
                ),
            ),
        ],
        figures={**drawn, **pictures},
    )


def _scores(evaluation: Mapping[str, Any], drawn: Mapping[str, go.Figure]) -> str:
    notes = [
        "Word list: about 350 positive and negative words; negations, and movements of costs, debt or losses, reverse "
        "their sign.",
        "Head on the frozen encoder: a logistic regression on the mean-pooled states of the pretrained encoder.",
        "A gain is significant where its interval excludes zero.",
    ]
    return pair(
        section(
            "Comparison with the baselines",
            chart("scores", "Accuracy on the held-out sentences.", "small"),
            scores_table(evaluation["scores"], evaluation["bootstrap"]),
        ),
        section("Gain over the best baseline", gains_table(evaluation["gains"]), note_list(notes, "Baselines")),
        section("Per-class scores", _class_scores(evaluation, evaluation["classes"])),
        _calibration(evaluation["calibration"], drawn),
    )


def _class_scores(scored: Mapping[str, Any], classes: Sequence[str]) -> str:
    matrix = confusion_table(np.array(scored["confusion"], np.int64), classes)
    return matrix + class_table(scored["per_class"], "Sentences")


def _key_figures(evaluation: Mapping[str, Any]) -> list[str]:
    model, gains, calibration = evaluation["scores"][MODEL], evaluation["gains"], evaluation["calibration"]
    before, after = calibration["before"], calibration["after"]
    total = sum(row["support"] for row in evaluation["per_class"])
    return [
        card(
            "Accuracy",
            share(model["accuracy"], 1),
            f"{points(gains['accuracy']['gain'])} pp vs. {gains['accuracy']['best_baseline']}",
        ),
        card("Macro-F1", number(model["macro_f1"]), span(model["macro_f1_interval"], number)),
        *(
            card(f"F1 of {row['class']}", number(row["f1"]), f"{row['support']:,} sentences")
            for row in evaluation["per_class"]
        ),
        card(
            "Calibration error",
            number(after["ece"]),
            f"{number(before['ece'])} before temperature scaling",
            f"{len(evaluation['wrong']):,} of {total:,} misclassified",
        ),
    ]


def _calibration(calibration: Mapping[str, Any], drawn: Mapping[str, go.Figure]) -> str:
    before, after = calibration["before"], calibration["after"]
    caption = (
        f"Temperature {number(calibration['temperature'], 2)}, fitted on the validation part: calibration error "
        f"{number(before['ece'])} before and {number(after['ece'])} after, log loss {number(before['log_loss'])} and "
        f"{number(after['log_loss'])} nats. The dotted line marks perfect calibration."
    )
    numbers = reliability_table(
        _reliability(calibration),
        "Sentences binned by the probability of the predicted class, before and after temperature scaling.",
        "sentences",
    )
    return chart_section("Calibration", drawn, "calibration", _NO_SENTENCES, caption, "tall", numbers)


def _reliability(calibration: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{when} temperature scaling": calibration[when]["bins"] for when in ("before", "after")}


def _groups(evaluation: Mapping[str, Any], drawn: Mapping[str, go.Figure]) -> str:
    topics, styles = (evaluation[key][::-1] for key in ("by_topic", "by_style"))
    caption = "Accuracy by topic, with the number of sentences in brackets; small groups are noisy."
    return columns(
        optional_chart(drawn, "topics", _NO_SENTENCES, caption, "long"),
        groups_table("Topic", topics) + groups_table("Style", styles) if topics else "",
    )


def _benchmarks(evaluation: Mapping[str, Any]) -> list[str]:
    tables = [
        benchmark_table(benchmark) + details("Per-class scores", _class_scores(benchmark, evaluation["classes"]))
        for benchmark in evaluation["benchmarks"]
    ]
    return [section("Other labelled files", columns(*tables))] if tables else []


def _wrong(evaluation: Mapping[str, Any]) -> str:
    wrong = evaluation["wrong"]
    if not wrong:
        return empty_note("No sentence was misclassified.")
    first, others = wrong[:20], wrong[20:]
    more = details(f"{len(others)} more", wrong_table(others, evaluation["classes"])) if others else ""
    return f'<div class="sentences">{wrong_table(first, evaluation["classes"])}{more}</div>'


def _history(history: Mapping[str, Any], drawn: Mapping[str, go.Figure]) -> str:
    caption = (
        f"Epoch {history['best_epoch']} of {len(history['validation_loss'])} was kept, with the lowest validation loss "
        "(averaged weights at their best temperature). The training loss is on smoothed labels."
    )
    table = history_table([{"fold": 1, **history}])
    return chart_section("Learning curve", drawn, "history-1", "No epoch was recorded.", caption, "small", table)


def _data(data: Mapping[str, Any], classes: list[str]) -> str:
    facts = {
        "Sources": ", ".join(data["sources"]),
        "SHA-256": data["sha256"],
        "Excluded": f"{data['repeated']:,} duplicates, {data['relabelled']:,} of them with a conflicting label",
    }
    return columns(parts_table(data["parts"], classes), label_table("Origin", facts))


def figures(evaluation: Mapping[str, Any]) -> dict[str, go.Figure]:
    """Return the figures that have something to show, by name."""
    history = evaluation["history"]
    everything = {
        "scores": scores_figure(evaluation["scores"]),
        "calibration": reliability_figure(
            _reliability(evaluation["calibration"]), lowest=1 / len(evaluation["classes"]), unit="sentences"
        ),
        "topics": groups_figure(evaluation["by_topic"]),
        **history_figures([{"fold": 1, **history}], [{"number": 1, "best_epoch": history["best_epoch"]}]),
    }
    return {name: figure for name, figure in everything.items() if figure is not None}


def scores_figure(scores: Mapping[str, Mapping[str, Any]]) -> go.Figure:
    """Draw the accuracy of model and baselines with its interval, beside the chance level."""
    names = list(scores)[::-1]  # the first is drawn on top
    middle = [100 * scores[name]["accuracy"] for name in names]
    ends = [scores[name]["accuracy_interval"] for name in names]
    figure = blank_figure()
    figure.add_bar(
        x=middle,
        y=[escape(name) for name in names],
        orientation="h",
        marker={"color": [BUY if name == MODEL else MUTED for name in names]},
        error_x={
            "array": [100 * high - at for at, (_, high) in zip(middle, ends, strict=True)],
            "arrayminus": [at - 100 * low for at, (low, _) in zip(middle, ends, strict=True)],
            "color": LINE,
            "thickness": 1.6,
            "width": 5,
        },
        customdata=[share_span(end) for end in ends],
        hovertemplate="%{y}: %{x:.1f}%<br>%{customdata}<extra></extra>",
    )
    figure.add_vline(100 / 3, line={**DOTTED, "color": LINE})
    figure.update_xaxes(title_text="Accuracy (%), dotted: chance level", range=[0, 102], nticks=6)
    figure.update_yaxes(type="category")
    return figure.update_layout(showlegend=False, bargap=0.45)


def groups_figure(rows: Sequence[Mapping[str, Any]]) -> go.Figure | None:
    """Draw the accuracy in each group: the model's as bars, the baselines' as marks; the best on top."""
    if not rows:
        return None
    labels = [f"{escape(row['name'])} ({row['sentences']})" for row in rows]
    figure = blank_figure()
    for place, name in enumerate(rows[0]["accuracy"]):
        values = [100 * row["accuracy"][name] for row in rows]
        hover = f"%{{y}}, {escape(name)}: %{{x:.1f}}%<extra></extra>"
        common = {"x": values, "y": labels, "name": escape(name), "hovertemplate": hover}
        if name == MODEL:
            figure.add_bar(**common, orientation="h", marker={"color": BUY, "opacity": 0.75})
        else:
            marker = {"symbol": _SYMBOLS[place % 2], "size": 8, "color": SELL if place % 2 else LINE}
            figure.add_scatter(**common, mode="markers", marker=marker)
    figure.update_xaxes(title_text="Accuracy (%)", range=[0, 102], nticks=6)
    figure.update_yaxes(type="category", dtick=1)
    return figure.update_layout(legend=LEGEND, bargap=0.35, hovermode="closest")
