"""The evaluation page of a sentiment model: ``index.html``, which needs no other file, and ``evaluation.json``."""

from collections.abc import Container, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nautilus_torchserve.reporting.drawing import BUY, LINE, MUTED, SELL, blank_figure
from nautilus_torchserve.reporting.evaluation.page import verdict, write_page
from nautilus_torchserve.reporting.evaluation.price_figures import history_figures
from nautilus_torchserve.reporting.evaluation.price_tables import history_table, points
from nautilus_torchserve.reporting.evaluation.sentiment_tables import (
    benchmark_table,
    bins_table,
    classes_table,
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
    details,
    label_table,
    matrix_table,
    note_list,
    number,
    share,
    share_span,
    span,
    words,
)
from nautilus_torchserve.reporting.frame import filled, framed

MODEL = "model"
_LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
_SYMBOLS = ("diamond-open", "square-open")
_DOT = " \N{MIDDLE DOT} "


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
            Rows of ``text``, ``topic``, ``style``, ``label``, ``said``, ``probabilities`` (by class).
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
    return write_page(evaluation, render(evaluation), folder)


def render(evaluation: Mapping[str, Any]) -> str:
    """Return the page as HTML."""
    drawn = figures(evaluation)
    explained, pictures = explanation_picture(evaluation["explained"], "explanation")
    classes = evaluation["classes"]
    body = filled(
        "sentiment_page.html",
        title=escape(evaluation["title"]),
        lead=escape(_lead(evaluation)),
        verdict=verdict(evaluation),
        key_figures=_key_figures(evaluation),
        scores=chart("scores", "Accuracy on the held-out sentences.", "small")
        + scores_table(evaluation["scores"], evaluation["bootstrap"]),
        gains=gains_table(evaluation["gains"])
        + note_list(
            [
                "Word list: about 350 positive and negative words, inverted by negations and by rises or falls of "
                "burdens.",
                "Head on the frozen encoder: a logistic regression on the mean-pooled states of the pretrained "
                "encoder.",
                "A gain is significant where its interval excludes zero.",
            ],
            "Baselines",
        ),
        classes=matrix_table(np.array(evaluation["confusion"], np.int64), tuple(classes))
        + classes_table(evaluation["per_class"]),
        calibration=_calibration(evaluation["calibration"], drawn),
        groups=_groups(evaluation, drawn),
        benchmarks=_benchmarks(evaluation),
        wrong=_wrong(evaluation),
        explained=explained,
        history=_history(evaluation["history"], drawn),
        data=_data(evaluation["data"], classes),
        inputs='<div class="columns">'
        + label_table("Model", evaluation["model_facts"])
        + label_table("Settings", evaluation["settings"])
        + "</div>",
    )
    return framed(evaluation["title"], body, {**drawn, **pictures})


def _lead(evaluation: Mapping[str, Any]) -> str:
    parts = (f"{part['sentences']:,} {part['part']}" for part in evaluation["data"]["parts"])
    return _DOT.join((", ".join(evaluation["data"]["sources"]), f"sentences: {', '.join(parts)}"))


def _key_figures(evaluation: Mapping[str, Any]) -> str:
    model, gains, calibration = evaluation["scores"][MODEL], evaluation["gains"], evaluation["calibration"]
    before, after = calibration["before"], calibration["after"]
    total = sum(row["support"] for row in evaluation["per_class"])
    cards = [
        card(
            "Accuracy",
            share(model["accuracy"], 1),
            f"{points(gains['accuracy']['gain'])} pp vs. {gains['accuracy']['best_baseline']}",
        ),
        card(
            "Macro-F1",
            number(model["macro_f1"]),
            span(model["macro_f1_interval"], number),
        ),
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
    return "\n".join(cards)


def _calibration(calibration: Mapping[str, Any], drawn: Container[str]) -> str:
    if "calibration" not in drawn:
        return words("There are no held-out sentences.")
    before, after = calibration["before"], calibration["after"]
    caption = (
        f"Temperature {number(calibration['temperature'], 2)}, fitted on the validation part: calibration error "
        f"{number(before['ece'])} before and {number(after['ece'])} after, log loss {number(before['log_loss'])} and "
        f"{number(after['log_loss'])} nats. The dotted line marks perfect calibration."
    )
    return chart("calibration", caption, "tall") + details("Show as table", bins_table(calibration))


def _groups(evaluation: Mapping[str, Any], drawn: Container[str]) -> str:
    topics, styles = evaluation["by_topic"], evaluation["by_style"]
    if "topics" not in drawn:
        return words("There are no held-out sentences.")
    caption = "Accuracy by topic, with the number of sentences in brackets; small groups are noisy."
    tables = groups_table("Topic", topics[::-1]) + groups_table("Style", styles[::-1])
    return f'<div class="columns"><div>{chart("topics", caption, "long")}</div><div>{tables}</div></div>'


def _benchmarks(evaluation: Mapping[str, Any]) -> str:
    benchmarks, classes = evaluation["benchmarks"], tuple(evaluation["classes"])
    if not benchmarks:
        return ""
    shown = "".join(f"<div>{_benchmark(benchmark, classes)}</div>" for benchmark in benchmarks)
    return f'<section>\n<h2>Other labelled files</h2>\n<div class="columns">{shown}</div>\n</section>'


def _benchmark(benchmark: Mapping[str, Any], classes: tuple[str, ...]) -> str:
    inside = matrix_table(np.array(benchmark["confusion"], np.int64), classes) + classes_table(benchmark["per_class"])
    return benchmark_table(benchmark) + details("Per-class scores", inside)


def _wrong(evaluation: Mapping[str, Any]) -> str:
    wrong = evaluation["wrong"]
    if not wrong:
        return words("No sentence was misclassified.")
    first, others = wrong[:20], wrong[20:]
    more = details(f"{len(others)} more", wrong_table(others, evaluation["classes"])) if others else ""
    return f'<div class="sentences">{wrong_table(first, evaluation["classes"])}{more}</div>'


def _history(history: Mapping[str, Any], drawn: Container[str]) -> str:
    if "history-1" not in drawn:
        return words("No epoch was recorded.")
    caption = (
        f"Epoch {history['best_epoch']} of {len(history['validation_loss'])} was kept, with the lowest validation loss "
        "(averaged weights at their best temperature). The training loss is on smoothed labels."
    )
    return chart("history-1", caption, "small") + details("Show as table", history_table([{"fold": 1, **history}]))


def _data(data: Mapping[str, Any], classes: list[str]) -> str:
    facts = {
        "Sources": ", ".join(data["sources"]),
        "SHA-256": data["sha256"],
        "Excluded": f"{data['repeated']:,} duplicates, {data['relabelled']:,} of them with a conflicting label",
    }
    return f'<div class="columns"><div>{parts_table(data["parts"], classes)}</div>{label_table("Origin", facts)}</div>'


def figures(evaluation: Mapping[str, Any]) -> dict[str, go.Figure]:
    """Return the figures that have something to show, by name."""
    history = evaluation["history"]
    everything = {
        "scores": scores_figure(evaluation["scores"]),
        "calibration": calibration_figure(evaluation["calibration"]),
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
        hovertemplate="%{y}: %{x:.1f} %<br>%{customdata}<extra></extra>",
    )
    figure.add_vline(100 / 3, line={"color": LINE, "dash": "dot", "width": 1.2})
    figure.update_xaxes(title_text="Accuracy (%), dotted: chance level", range=[0, 102], nticks=6)
    figure.update_yaxes(type="category")
    return figure.update_layout(showlegend=False, bargap=0.45)


def calibration_figure(calibration: Mapping[str, Any]) -> go.Figure | None:
    """Draw the reliability diagram before and after temperature scaling, above the number of sentences in each bin."""
    bins = calibration["after"]["bins"]
    if not bins:
        return None
    figure = blank_figure()
    figure.add_scatter(
        x=[1 / 3, 1],
        y=[1 / 3, 1],
        name="perfect",
        mode="lines",
        hoverinfo="skip",
        line={"color": MUTED, "dash": "dot", "width": 1.2},
    )
    for when, colour, dash in (("before", LINE, "dash"), ("after", BUY, "solid")):
        rows = calibration[when]["bins"]
        figure.add_scatter(
            x=[row["confidence"] for row in rows],
            y=[row["right"] for row in rows],
            name=f"{when} temperature scaling",
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 1.8},
            marker={"size": 7},
            customdata=[row["count"] for row in rows],
            hovertemplate="predicted %{x:.3f}, observed %{y:.3f}<br>%{customdata:,} sentences<extra></extra>",
        )
    figure.add_bar(
        x=[(row["above"] + row["to"]) / 2 for row in bins],
        y=[row["count"] for row in bins],
        width=[0.9 * (row["to"] - row["above"]) for row in bins],
        yaxis="y2",
        showlegend=False,
        marker={"color": MUTED},
        hovertemplate="%{y:,} sentences<extra></extra>",
    )
    return figure.update_layout(
        legend=_LEGEND,
        xaxis={"anchor": "y2", "range": [0.32, 1.01], "title": {"text": "Probability of the predicted class"}},
        yaxis={"domain": [0.34, 1.0], "range": [-0.02, 1.02], "dtick": 0.25, "title": {"text": "Observed"}},
        yaxis2={"domain": [0.0, 0.26], "title": {"text": "Count"}, "nticks": 3, "tickformat": "~s"},
    )


def groups_figure(rows: Sequence[Mapping[str, Any]]) -> go.Figure | None:
    """Draw the accuracy in each group: the model's as bars, the baselines' as marks; the best on top."""
    if not rows:
        return None
    labels = [f"{escape(row['name'])} ({row['sentences']})" for row in rows]
    figure = blank_figure()
    for place, name in enumerate(rows[0]["accuracy"]):
        values = [100 * row["accuracy"][name] for row in rows]
        hover = f"%{{y}}, {escape(name)}: %{{x:.1f}} %<extra></extra>"
        if name == MODEL:
            figure.add_bar(
                x=values,
                y=labels,
                orientation="h",
                name=name,
                marker={"color": BUY, "opacity": 0.75},
                hovertemplate=hover,
            )
        else:
            figure.add_scatter(
                x=values,
                y=labels,
                name=escape(name),
                mode="markers",
                hovertemplate=hover,
                marker={"symbol": _SYMBOLS[place % 2], "size": 8, "color": SELL if place % 2 else LINE},
            )
    figure.update_xaxes(title_text="Accuracy (%)", range=[0, 102], nticks=6)
    figure.update_yaxes(type="category", dtick=1)
    return figure.update_layout(legend=_LEGEND, bargap=0.35, hovermode="closest")
