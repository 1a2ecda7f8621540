"""The picture of an explanation, and the section of a page that shows one."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explanation_sample import explained_trade, features, log_of, past_trade, pooled, sentence, window

from nautilus_torchserve.reporting.backtest.data import ReportData
from nautilus_torchserve.reporting.backtest.page import render, write_report
from nautilus_torchserve.reporting.backtest.summary import summarize
from nautilus_torchserve.reporting.backtest.trade_log import BadReport, read_trades
from nautilus_torchserve.reporting.explanation.figure import (
    bar_rows,
    explanation_picture,
    sentence_figure,
    window_figure,
)
from nautilus_torchserve.reporting.explanation.sentences import drivers


def test_all_words_of_a_text_are_shaded_by_their_attribution() -> None:
    html = sentence_figure(sentence())

    shown = re.search(r'<p class="tokens">(.*)</p>', html)
    assert shown is not None
    assert unescape(re.sub("<[^>]*>", "", shown.group(1))) == sentence()["text"]
    assert '<span class="token up" style="--share:1.000" title="+0.500">profit</span>' in html
    assert '<span class="token down" style="--share:0.600"' in html
    assert "<b>" not in html


def test_a_heat_map_has_a_cell_for_each_value_and_the_same_scale_both_ways() -> None:
    line, heat = window_figure(window()).data

    np.testing.assert_array_equal(np.array(heat.z), np.array(window()["attributions"]).T)
    assert (heat.zmin, heat.zmax) == (-1.0, 1.0)
    assert list(line.y) == [row[3] for row in window()["window"]]
    assert list(heat.x) == list(range(-19, 1))


def test_bars_begin_in_the_middle_and_the_strongest_is_half_of_the_cell() -> None:
    html = bar_rows(drivers(features()), features())

    assert re.findall(r'class="(up|down)" style="--share:([\d.]+)%', html) == [
        ("up", "50.00"),
        ("down", "6.67"),
        ("down", "1.67"),
    ]


@pytest.mark.parametrize(
    ("explanation", "figures", "texts"),
    [(features(), 0, 0), (window(), 1, 0), (sentence(), 0, 1), (pooled(), 1, 1), (pooled(news=False), 1, 0)],
)
def test_each_models_explanation_has_its_picture(explanation: dict[str, Any], figures: int, texts: int) -> None:
    html, drawn = explanation_picture(explanation)

    assert list(drawn) == ["explanation"] * figures
    assert all(f'id="{name}"' in html for name in drawn)
    assert html.count('<p class="tokens">') == texts
    assert "The attributions add up" in html


def page(data: ReportData) -> str:
    return render(data, summarize(data))


def test_a_report_shows_the_trade_that_was_explained(report_data: ReportData) -> None:
    html = page(replace(report_data, explained=explained_trade()))

    assert "Explanation of one trade" in html
    assert "Trade 2, the most profitable: BUY 0.1 at 100.5" in html
    assert "flow_imbalance" in html


def test_a_report_says_why_there_is_no_explanation(report_data: ReportData) -> None:
    html = page(replace(report_data, explained="Trade 2 could not be explained: <Unavailable>"))

    assert "could not be explained: &lt;Unavailable&gt;" in html
    assert "Explanation of one trade" not in page(report_data)


def test_the_trades_are_kept_beside_the_page_to_the_bit(report_data: ReportData, tmp_path: Path) -> None:
    on_news = past_trade(2, 3.0, texts=("Profit rose",), ages_s=(1.5,))
    log = log_of(past_trade(1, -1.0), on_news, past_trade(3, 4.0))

    write_report(replace(report_data, log=log), tmp_path)

    stored_log = read_trades(tmp_path)
    assert {**vars(stored_log), "trades": None} == {**vars(log), "trades": None}
    for one, other in zip(stored_log.trades, log.trades, strict=True):
        assert one.row.tobytes() == other.row.tobytes()
        assert {**vars(one), "row": None} == {**vars(other), "row": None}
    assert stored_log.best() is stored_log.trade(2)  # which was on news


def test_without_news_the_best_trade_is_the_most_profitable() -> None:
    log = log_of(past_trade(1, -1.0), past_trade(2, 2.0), past_trade(3, 1.0))

    assert log.best() is log.trade(2)


def test_a_run_without_trades_has_an_empty_log(report_data: ReportData, tmp_path: Path) -> None:
    write_report(replace(report_data, log=log_of()), tmp_path)

    stored_log = read_trades(tmp_path)

    assert stored_log.best() is None
    with pytest.raises(BadReport, match="expected no trade, as no position was closed, got 1"):
        stored_log.trade(1)


def test_trades_that_are_missing_are_named(report_data: ReportData, tmp_path: Path) -> None:
    with pytest.raises(BadReport, match=r"expected .*trades\.json, which the report of one instrument has"):
        read_trades(tmp_path)
    write_report(replace(report_data, log=log_of(past_trade(1, 1.0))), tmp_path)
    with pytest.raises(BadReport, match="expected trade 1 to 1, got 2"):
        read_trades(tmp_path).trade(2)
    for name in ("trades.npz", "trades.json"):
        whole = (tmp_path / name).read_bytes()
        for damaged in (b"", b"\x80pickle", whole[:-40], whole.replace(b"rows", b"rose").replace(b"trades", b"trials")):
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(BadReport, match=rf"{name}: expected the (rows|trades) of a report"):
                read_trades(tmp_path)
        (tmp_path / name).write_bytes(whole)
    (tmp_path / "trades.npz").unlink()
    with pytest.raises(BadReport, match=r"trades\.npz, got a path that does not exist"):
        read_trades(tmp_path)
