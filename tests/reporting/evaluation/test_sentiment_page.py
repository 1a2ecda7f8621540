import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_elements import Elements
from sentiment_evaluation import evaluation

from nautilus_torchserve.reporting.evaluation.sentiment_page import render, write_sentiment

CHARTS = {"scores", "calibration", "topics", "history-1"}
OTHERS = {"head on the frozen encoder", "model", "negative", "neutral", "before", "explained"}
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&$title"


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, value
    else:
        for key, below in items:
            yield from leaves(below, (*path, key))


def put(report: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        report = report[key]
    report[path[-1]] = value


def number_paths() -> list[tuple[Any, ...]]:
    """Of each kind of number one: the second row of its list, the last reader, the last class; an interval's ends."""
    chosen = []
    for path, value in leaves(evaluation()):
        rows = path[:-1] if "interval" in str(path[-2:-1]) else path
        if type(value) in (int, float) and all(key == 1 for key in rows if isinstance(key, int)):
            chosen.append(path)
    return [path for path in chosen if not OTHERS & set(path)]


def shown(report: dict[str, Any]) -> str:
    """The page's words and tables, without what its script draws."""
    return Elements(render(report).partition("<script>")[0]).text


@pytest.fixture(scope="module")
def plain_text() -> str:
    return shown(evaluation())


def test_page_and_json_are_written_and_nothing_else(tmp_path: Path) -> None:
    path = write_sentiment(evaluation(), tmp_path / "new" / "report")

    assert path == tmp_path / "new" / "report" / "index.html"
    assert sorted(file.name for file in path.parent.iterdir()) == ["evaluation.json", "index.html"]
    assert json.loads((path.parent / "evaluation.json").read_bytes()) == evaluation()


def test_values_that_are_not_json_are_refused_before_writing(tmp_path: Path) -> None:
    report = evaluation()
    report["scores"]["model"]["accuracy"] = np.float32(0.75)

    with pytest.raises(TypeError, match=r"numpy\.float32"):
        write_sentiment(report, tmp_path / "report")

    assert not (tmp_path / "report").exists()


def test_page_loads_nothing_from_outside() -> None:
    elements = Elements(render(evaluation())).tags

    assert not [attrs for _, attrs in elements if {"src", "href", "srcset", "data", "action"} & set(attrs)]


def test_every_chart_has_a_placeholder_and_a_caption() -> None:
    elements = Elements(render(evaluation()))

    charts = [attrs for _, attrs in elements.tags if "chart" in (attrs.get("class") or "").split()]
    ids = {attrs.get("id") for _, attrs in elements.tags}
    assert {attrs["id"] for attrs in charts} == set(elements.figures) == CHARTS
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] in ids for attrs in charts)


@pytest.mark.parametrize("path", number_paths(), ids=lambda path: ".".join(map(str, path)))
def test_every_number_is_in_the_text_or_a_table(path: tuple[Any, ...], plain_text: str) -> None:
    changed = evaluation()
    value = dict(leaves(changed))[path]

    put(changed, path, value + (1 if isinstance(value, int) else 0.03))

    assert shown(changed) != plain_text


def test_every_mistake_has_predicted_and_labelled_class() -> None:
    text = " ".join(shown(evaluation()).split())

    for sentence in evaluation()["wrong"]:
        assert sentence["text"] in text
    assert text.index("Sentence number 0 of") < text.index("Sentence number 42 of")
    assert "Sentence number 1 of the held-out part analysts: price targets, wire 1% 3% labelled 96% predicted" in text


def test_both_reliabilities_are_drawn_with_their_counts() -> None:
    traces = {trace.get("name"): trace for trace in Elements(render(evaluation())).figures["calibration"]["data"]}

    calibration = evaluation()["calibration"]
    for when in ("before", "after"):
        assert traces[f"{when} temperature scaling"]["y"] == [row["right"] for row in calibration[when]["bins"]]
    assert list(traces[None]["y"]) == [row["count"] for row in calibration["after"]["bins"]]


def test_topics_are_drawn_with_the_accuracy_of_every_model() -> None:
    traces = {trace["name"]: trace for trace in Elements(render(evaluation())).figures["topics"]["data"]}

    for name in evaluation()["scores"]:
        expected = [100 * row["accuracy"][name] for row in evaluation()["by_topic"]]
        assert traces[name]["x"] == pytest.approx(expected)
    assert traces["model"]["y"][0] == "a (30)"


@pytest.mark.parametrize(
    ("beats", "headline"), [(True, "Better than every baseline"), (False, "Not shown to be better")]
)
def test_the_page_begins_with_the_verdict(beats: bool, headline: str) -> None:
    report = evaluation()
    report["beats_baselines"] = beats

    text = Elements(render(report)).text

    assert text.index(headline) < text.index(report["edge"]) < text.index("Macro-F1")


def test_page_without_benchmarks_and_mistakes_omits_them() -> None:
    report = evaluation()
    report |= {"benchmarks": [], "wrong": []}

    text = shown(report)

    assert "Other labelled files" not in text
    assert "No sentence was misclassified." in text


def test_class_that_was_never_predicted_has_a_dash() -> None:
    report = evaluation()
    report["per_class"][2] |= {"precision": None, "f1": None}

    text = shown(report)

    assert "None" not in text
    assert "\N{EN DASH}" in text


def test_strings_of_the_evaluation_stay_text() -> None:
    report = evaluation()
    for path, value in list(leaves(report)):
        if isinstance(value, str) and path[-1] not in ("label", "predicted") and path[0] != "classes":
            put(report, path, HOSTILE)
    report["settings"] = {HOSTILE: HOSTILE}
    report["model_facts"] = {HOSTILE: HOSTILE}
    for holder in (report["scores"], *(row["accuracy"] for row in (*report["by_topic"], *report["by_style"]))):
        holder[HOSTILE] = holder.pop("word list")
    plain, elements = Elements(render(evaluation())), Elements(render(report))

    assert "img" not in {tag for tag, _ in elements.tags}
    assert sum(tag == "script" for tag, _ in elements.tags) == sum(tag == "script" for tag, _ in plain.tags)
    assert elements.text.count(HOSTILE) > 20
    assert "<img" not in json.dumps(elements.figures)
