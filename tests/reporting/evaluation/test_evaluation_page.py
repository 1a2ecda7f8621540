import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_sample import evaluation
from page_elements import Elements

from nautilus_torchserve.reporting.evaluation.price_page import render, write_evaluation

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&$title"
CHARTS = {"direction", "gains", "sign", "scale", "columns", "steps", "history-1", "history-2", "history-3"}
NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
TIMES = {"from", "to", "test_from", "test_to"}


class Tables(HTMLParser):
    """The page's tables by their first column's name, as rows of texts, minus signs as hyphens."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.by_heading: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")
            self._open = True

    def handle_data(self, data: str) -> None:
        if self._open:
            cell, text = self._rows[-1][-1], data.replace(MINUS, "-")
            self._rows[-1][-1] = f"{cell} | {text}" if cell else text

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._open = False
        elif tag == "table":
            self.by_heading[self._rows[0][0]] = self._rows[1:]


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
    """Of each kind of number the one in the second row of its list; of an interval both ends."""
    chosen = []
    for path, value in leaves(evaluation()):
        rows = path[:-1] if "interval" in str(path[-2:-1]) else path
        if type(value) in (int, float) and all(key == 1 for key in rows if isinstance(key, int)):
            chosen.append(path)
    return chosen


def shown(report: dict[str, Any]) -> str:
    """The page's words and tables, without what its script draws."""
    return Elements(render(report).partition("<script>")[0]).text


def test_page_and_json_are_written_and_nothing_else(tmp_path: Path) -> None:
    path = write_evaluation(evaluation(), tmp_path / "new" / "report")

    assert path == tmp_path / "new" / "report" / "index.html"
    assert sorted(file.name for file in path.parent.iterdir()) == ["evaluation.json", "index.html"]
    assert json.loads((path.parent / "evaluation.json").read_bytes()) == evaluation()


def test_values_that_are_not_json_are_refused_before_writing(tmp_path: Path) -> None:
    report = evaluation()
    report["scores"]["model"]["rmse_bps"] = np.float32(5.25)

    with pytest.raises(TypeError, match=r"numpy\.float32"):
        write_evaluation(report, tmp_path / "report")

    assert not (tmp_path / "report").exists()


def test_page_loads_nothing_from_outside() -> None:
    elements = Elements(render(evaluation())).tags

    assert not [attrs for _, attrs in elements if {"src", "href", "srcset", "data", "action"} & set(attrs)]
    policies = [attrs["content"] or "" for _, attrs in elements if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'")


def test_every_chart_has_a_placeholder_and_a_caption() -> None:
    elements = Elements(render(evaluation()))

    charts = [attrs for _, attrs in elements.tags if "chart" in (attrs.get("class") or "").split()]
    ids = {attrs.get("id") for _, attrs in elements.tags}
    assert {attrs["id"] for attrs in charts} == set(elements.figures) == CHARTS
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] in ids for attrs in charts)


def test_every_table_of_scores_has_a_caption() -> None:
    elements = Elements(render(evaluation())).tags

    tables = [tag for tag, attrs in elements if tag == "table" and attrs["class"] == "plain"]
    assert len(tables) == len([tag for tag, _ in elements if tag == "figcaption"]) == 9


@pytest.mark.parametrize("path", number_paths(), ids=lambda path: ".".join(map(str, path)))
def test_every_number_is_in_the_text_or_a_table(path: tuple[Any, ...], plain_text: str) -> None:
    changed = evaluation()
    value = dict(leaves(changed))[path]
    step = 60_000_000_000 if path[-1] in TIMES else 1 if isinstance(value, int) else 0.008

    put(changed, path, value + step)

    assert shown(changed) != plain_text


def test_the_tables_hold_the_numbers() -> None:
    tables = Tables(render(evaluation())).by_heading

    assert tables["Forecast"][1] == ["no change", "5.243", "3.450", NONE]
    assert tables["Score"] == [
        ["RMSE (bps) | vs. no change", "+0.0121 | -0.0040 to +0.0288", "not significant"],
        ["MAE (bps) | vs. linear", "-0.0037 | -0.0066 to -0.0009", "worse"],
        ["Directional accuracy | vs. a coin", "+1.62 pp | +0.71 to +2.53 pp", "better"],
        [
            "Log likelihood (nats per bar) | vs. 6.9823 of a constant Student t",
            "+0.0629 | +0.0512 to +0.0746",
            "better",
        ],
    ]
    assert tables["Fold"][1][:6] == [
        "2",
        "2024-01-18 15:20 UTC | to 2024-01-21 13:08 UTC",
        "20,056",
        "2,066",
        "4,128",
        "4 of 9",
    ]
    assert tables["Probability"][0] == ["0.500 to 0.510", "7,412", "50.43%", "50.60%"]
    assert tables["Probability"][-1] == ["0.560 to 0.570", "0", NONE, NONE]
    assert tables["Interval"][1] == ["25%", "25.61%", "+0.61"]
    assert tables["Column"][0] == ["close", "+0.04110", "+0.0515"]
    assert tables["Bars"][-1] == ["31-60 back", "-0.00080"]
    assert tables["Forecast in fold"][5] == ["no change | fold 2", "5.243", "3.450", f"{NONE} | {NONE}"]
    assert tables["Epoch"][0][:2] == ["1", "1.60400 | training 1.62000"]
    assert [NONE in row for row in tables["Epoch"]] == [epoch > 9 for epoch in range(1, 15)]


def test_only_the_best_of_each_score_is_marked() -> None:
    report = evaluation()
    report["scores"]["linear"]["rmse_bps"] = report["scores"]["model"]["rmse_bps"]
    rows = {row[0]: row[1:] for row in Tables(render(report)).by_heading["Forecast"]}

    marked = {name: ["best" in cell for cell in cells] for name, cells in rows.items()}

    assert marked == {
        "model": [True, False, True],
        "no change": [False, False, False],
        "last return": [False, False, False],
        "linear": [True, True, False],
    }


def test_a_fold_is_compared_with_its_own_best_baseline() -> None:
    report = evaluation()
    for name, rmse in (("model", 5.0), ("no change", 5.25), ("last return", 5.125), ("linear", 6.0)):
        report["folds"][1]["scores"][name]["rmse_bps"] = rmse

    page = render(report)

    assert Tables(page).by_heading["Fold"][1][6] == "5.000 | +0.1250 vs. last return"
    bars = next(trace for trace in Elements(page).figures["gains"]["data"] if trace["name"] == "RMSE")
    assert bars["y"][1] == 0.125
    assert bars["customdata"][1] == "last return"


def test_directional_accuracy_is_drawn_with_its_interval_beside_the_coin() -> None:
    report = evaluation()
    report["folds"][0]["scores"]["model"] |= {"directional_accuracy": 0.5, "directional_interval": [0.25, 0.625]}

    traces = {trace["name"]: trace for trace in Elements(render(report)).figures["direction"]["data"]}

    assert traces["a coin"]["y"] == [50, 50]
    assert "no change" not in traces
    model = traces["model"]
    assert (model["y"][0], model["error_y"]["arrayminus"][0], model["error_y"]["array"][0]) == (50, 25, 12.5)
    assert len(model["y"]) == len(report["folds"]) + 1
    assert model["y"][-1] == pytest.approx(100 * report["scores"]["model"]["directional_accuracy"])


@pytest.mark.parametrize(
    ("beats", "headline"), [(True, "Better than every baseline"), (False, "Not shown to be better")]
)
@pytest.mark.parametrize("simulated", [True, False])
def test_the_page_begins_with_the_verdict_and_whether_it_was_simulated(
    beats: bool, headline: str, simulated: bool
) -> None:
    report = evaluation()
    report["beats_baselines"] = beats
    report["data"]["simulated"] = simulated

    text = Elements(render(report)).text

    assert headline in text
    assert text.index(headline) < text.index(report["edge"]) < text.index("RMSE (bps)")
    assert ("SIMULATED MARKET." in text) is simulated
    assert ("in a simulated market" in text) is simulated


def test_a_number_that_cannot_be_computed_is_a_dash() -> None:
    report = evaluation()
    computed = {
        *("rmse_bps", "mae_bps", "directional_accuracy", "directional_interval", "interval", "gain", "gain_bps"),
        *("best_baseline", "constant", "ece", "covered", "confidence", "right", "nll_rise", "rmse_rise_bps"),
    }
    for path, _ in list(leaves(report)):
        at = next((place for place, key in enumerate(path) if key in computed), None)
        if at is not None and path[0] not in ("bootstrap", "data"):
            put(report, path[: at + 1], None)
    report["log_likelihood"]["model"] = None
    for row in report["calibration"]["sign"]:
        row["count"] = 0
    report["history"][1] = {"fold": 2, "train_loss": [1.5, None], "validation_loss": [None, 1.25]}

    page = render(report)
    elements, tables = Elements(page), Tables(page).by_heading

    assert "None" not in elements.text
    assert "nan" not in elements.text
    assert tables["Forecast"] == [[name, NONE, NONE, NONE] for name in report["scores"]]
    assert tables["Score"][0] == [f"RMSE (bps) | vs. {NONE}", f"{NONE} | {NONE}", NONE]
    assert tables["Fold"][0][6:] == [f"{NONE} | {NONE}", f"{NONE} | {NONE}", f"{NONE} | {NONE}"]
    assert tables["Epoch"][0][2] == f"{NONE} | training 1.50000"
    assert set(elements.figures) == {"history-1", "history-2", "history-3"}


def test_a_section_with_nothing_to_show_says_so() -> None:
    report = evaluation()
    report |= {"folds": [], "importance": [], "importance_steps": [], "history": [], "settings": {}, "model_facts": {}}
    report["calibration"] = {"sign": [], "ece": None, "scale": []}
    report["data"]["findings"] = []

    elements = Elements(render(report))

    for sentence in (
        "There were no folds",
        "No permutation importance was computed",
        "No epoch was recorded",
        "No sign was forecast",
        "No interval was compared",
        "The data checks reported no findings",
    ):
        assert sentence in elements.text
    assert set(elements.figures) == {"direction"}


def test_strings_of_the_evaluation_stay_text() -> None:
    report = evaluation()
    for path, value in list(leaves(report)):
        if isinstance(value, str) and path[-1] != "best_baseline":
            put(report, path, HOSTILE)
    report["settings"] = {HOSTILE: HOSTILE}
    report["model_facts"] = {HOSTILE: HOSTILE}
    for scores in (report["scores"], *(fold["scores"] for fold in report["folds"])):
        scores[HOSTILE] = scores.pop("linear")
    report["gains"]["mae"]["best_baseline"] = HOSTILE
    plain, elements = Elements(render(evaluation())), Elements(render(report))

    assert "img" not in {tag for tag, _ in elements.tags}
    assert sum(tag == "script" for tag, _ in elements.tags) == sum(tag == "script" for tag, _ in plain.tags)
    assert elements.text.count(HOSTILE) > 20
    assert "<img" not in json.dumps(elements.figures)


@pytest.fixture(scope="module")
def plain_text() -> str:
    return shown(evaluation())
