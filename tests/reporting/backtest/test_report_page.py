import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from page_elements import Elements

from nautilus_torchserve.reporting import frame
from nautilus_torchserve.reporting.backtest.data import ReportData
from nautilus_torchserve.reporting.backtest.page import write_report

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&$title"


def written(data: ReportData, folder: Path) -> Elements:
    return Elements(write_report(data, folder).read_text(encoding="utf-8"))


def test_page_and_summary_are_written_and_nothing_else(report_data: ReportData, tmp_path: Path) -> None:
    path = write_report(report_data, tmp_path / "new" / "report")

    assert path == tmp_path / "new" / "report" / "index.html"
    assert sorted(file.name for file in path.parent.iterdir()) == ["index.html", "summary.json"]
    summary = json.loads((path.parent / "summary.json").read_bytes())
    assert summary["summary"]["fills"] == 10
    assert summary["statistics"]["Returns"]["Sharpe Ratio (365 days)"] is None
    assert np.sum(summary["confusion_matrix"]["actual_by_predicted"]) == 448
    assert sum(row["count"] for row in summary["calibration"]) == 448


def test_page_loads_nothing_from_outside(report_data: ReportData, tmp_path: Path) -> None:
    elements = written(report_data, tmp_path).tags

    assert not [attrs for _, attrs in elements if {"src", "href", "srcset", "data", "action"} & set(attrs)]
    policies = [attrs["content"] for _, attrs in elements if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policies
    assert policies[0].startswith("default-src 'none'")
    assert "url(" not in Path(frame.__file__).with_name("page.css").read_text()


def test_every_chart_has_a_placeholder(report_data: ReportData, tmp_path: Path) -> None:
    elements = written(report_data, tmp_path)

    places = {attrs["id"] for _, attrs in elements.tags if "chart" in (attrs.get("class") or "").split()}
    assert places == set(elements.figures) == {"price", "equity", "calibration", "latency"}


@pytest.mark.parametrize("simulated", [True, False])
def test_a_simulated_market_is_announced(report_data: ReportData, simulated: bool, tmp_path: Path) -> None:
    text = written(replace(report_data, simulated=simulated), tmp_path).text

    assert ("Simulated market:" in text) is simulated


def test_warnings_stand_above_the_numbers(report_data: ReportData, tmp_path: Path) -> None:
    page_text = write_report(replace(report_data, warnings=("IN SAMPLE: seen before.",)), tmp_path).read_text()

    banner = page_text.index('<p class="banner loud" role="note">IN SAMPLE: seen before.')
    assert banner < page_text.index("P&amp;L (")
    assert json.loads((tmp_path / "summary.json").read_bytes())["warnings"] == ["IN SAMPLE: seen before."]


def test_strings_of_the_data_stay_text(report_data: ReportData, tmp_path: Path) -> None:
    hostile = replace(
        report_data,
        title=HOSTILE,
        instrument_id=HOSTILE,
        currency=HOSTILE,
        data={HOSTILE: HOSTILE},
        model={HOSTILE: HOSTILE},
        settings={HOSTILE: HOSTILE},
        notes=(HOSTILE,),
        warnings=(HOSTILE,),
        class_names=("buy", "sell", HOSTILE),
        predictions=report_data.predictions.rename(columns={"hold": HOSTILE}),
        statistics={HOSTILE: {HOSTILE: HOSTILE}},
    )
    plain = written(report_data, tmp_path / "plain")
    elements = written(hostile, tmp_path / "hostile")

    assert "img" not in {tag for tag, _ in elements.tags}
    assert sum(tag == "script" for tag, _ in elements.tags) == sum(tag == "script" for tag, _ in plain.tags)
    assert elements.text.count(HOSTILE) > 10
    assert "<img" not in json.dumps(elements.figures)


@pytest.mark.parametrize(
    ("left_out", "sentence", "chart"),
    [
        (("predictions",), "there are no predictions", "calibration"),
        (("predictions",), "No inference latency was measured", "latency"),
        (("outcomes",), "No outcome is known yet", "calibration"),
        (("equity",), "No equity was recorded", "equity"),
        (("trades",), "There were no trades", "price"),
        (("statistics",), "no account to compute", None),
        (("fills",), "no order was filled", None),
        (
            ("predictions", "outcomes", "fills", "equity", "trades", "statistics", "inputs"),
            "No configuration was recorded",
            "price",
        ),
    ],
)
def test_a_section_with_nothing_to_show_says_so(
    report_data: ReportData, left_out: tuple[str, ...], sentence: str, chart: str | None, tmp_path: Path
) -> None:
    empty = {
        "predictions": {"predictions": report_data.predictions[:0], "actual": report_data.actual[:0]},
        "outcomes": {"actual": np.full_like(report_data.actual, -1)},
        "fills": {"fills": pd.DataFrame(columns=["ts_ns", "side", "price", "quantity"])},
        "equity": {"equity": report_data.equity[:0]},
        "trades": {"ts_ns": report_data.ts_ns[:0], "price": report_data.price[:0]},
        "statistics": {"statistics": {}},
        "inputs": {"data": {}, "model": {}, "settings": {}, "notes": ()},
    }
    changes: dict = {}
    for name in reversed(left_out):  # no predictions have no outcomes either
        changes |= empty[name]
    elements = written(replace(report_data, **changes), tmp_path)

    assert sentence in elements.text
    assert chart not in elements.figures
    assert all(figure["data"] for figure in elements.figures.values())


def test_one_event_of_each_kind_is_enough(report_data: ReportData, tmp_path: Path) -> None:
    one = replace(
        report_data,
        ts_ns=report_data.ts_ns[:1],
        price=report_data.price[:1],
        predictions=report_data.predictions[:1],
        actual=report_data.actual[:1],
        fills=report_data.fills[:1],
        equity=report_data.equity[:1],
    )

    assert set(written(one, tmp_path).figures) == {"price", "equity", "calibration", "latency"}


def test_a_report_that_fails_leaves_the_old_one(
    report_data: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_report(report_data, tmp_path)
    before = path.read_bytes()
    write = Path.write_bytes

    def full_disk(self: Path, content: bytes) -> int:
        if "html" in self.name:
            write(self, content[:100])
            raise OSError("no space left")
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_report(replace(report_data, title="Newer"), tmp_path)

    assert path.read_bytes() == before
    assert json.loads((tmp_path / "summary.json").read_bytes())["title"] == "Tick classifier"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["index.html", "summary.json"]


def test_many_trades_do_not_make_a_heavy_page(report_data: ReportData, tmp_path: Path) -> None:
    times = 200
    ts_ns = np.sort(np.tile(report_data.ts_ns, times))
    predictions = pd.concat([report_data.predictions] * times).sort_values("ts_event", ignore_index=True)
    many = replace(
        report_data,
        ts_ns=ts_ns,
        price=np.tile(report_data.price, times),
        predictions=predictions,
        actual=np.zeros(len(predictions), dtype=np.int8),
    )

    assert write_report(many, tmp_path).stat().st_size < 6_000_000


def test_predictions_of_unknown_meaning_are_counted_and_not_scored(report_data: ReportData, tmp_path: Path) -> None:
    unknown = np.full_like(report_data.actual, -1)

    elements = written(replace(report_data, actual=unknown, scored=False), tmp_path)

    for heading in ("Macro-F1", "Confusion matrix", "Calibration", "outcome", "confident"):
        assert heading not in elements.text
    assert f"{len(report_data.predictions):,} answered" in elements.text
    assert "calibration" not in elements.figures
