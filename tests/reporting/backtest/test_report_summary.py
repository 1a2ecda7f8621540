from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as oracle

from nautilus_torchserve.reporting.backtest.data import ReportData
from nautilus_torchserve.reporting.backtest.summary import confident, summarize


def test_key_figures_are_those_of_the_data(report_data: ReportData) -> None:
    figures = summarize(report_data)

    account = report_data.account
    assert account is not None
    known = report_data.actual >= 0
    predicted = report_data.predictions[["buy", "sell", "hold"]].to_numpy()[known].argmax(axis=1)
    truth = report_data.actual[known]
    assert figures["pnl"] == pytest.approx(account.end - 1_000)
    assert figures["return_pct"] == pytest.approx(100 * (account.end / 1_000 - 1))
    assert figures["max_drawdown"] == -31.25  # of all events, not of the picture
    assert (figures["orders"], figures["fills"], figures["predictions"]) == (12, 10, 468)
    assert figures["known_outcomes"] == known.sum() == 448
    assert figures["accuracy"] == pytest.approx(oracle.accuracy_score(truth, predicted))
    assert figures["macro_f1"] == pytest.approx(oracle.f1_score(truth, predicted, average="macro"))
    assert figures["majority_share"] == pytest.approx(np.bincount(truth).max() / len(truth))
    assert figures["latency_ms"]["p50"] == pytest.approx(report_data.predictions["latency_ns"].median() / 1e6)
    assert figures["arrival_ms"] == pytest.approx(figures["latency_ms"])


def test_a_prediction_is_confident_when_its_class_wins_with_enough(report_data: ReportData) -> None:
    rows = report_data.predictions[["buy", "sell", "hold"]]

    assert confident(report_data, "buy").tolist() == np.flatnonzero(rows["buy"] >= 0.6).tolist()
    assert confident(report_data, "up").tolist() == []


def test_failed_predictions_are_not_scored(report_data: ReportData) -> None:
    predictions = report_data.predictions.copy()
    predictions.loc[:9, ["buy", "sell", "hold"]] = np.nan

    figures = summarize(replace(report_data, predictions=predictions))

    assert (figures["predictions"], figures["answered"], figures["known_outcomes"]) == (468, 458, 438)


def test_scores_that_cannot_be_computed_are_none(report_data: ReportData) -> None:
    empty = replace(
        report_data,
        predictions=report_data.predictions[:0],
        actual=report_data.actual[:0],
        equity=report_data.equity[:0],
        account=None,
    )
    figures = summarize(empty)

    for name in (
        "pnl",
        "return_pct",
        "max_drawdown",
        "max_drawdown_pct",
        "accuracy",
        "majority_share",
        "macro_f1",
        "ece",
    ):
        assert figures[name] is None
    assert figures["latency_ms"] == {"p50": None, "p95": None, "p99": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: {"price": data.price[1:]}, "price as long as ts_ns"),
        (lambda data: {"actual": data.actual[1:]}, "actual as long as predictions"),
        (lambda data: {"actual": data.actual + 9}, r"expected actual in \[-1, 2\]"),
        (lambda data: {"predictions": data.predictions.drop(columns="hold")}, r"got none named \['hold'\]"),
        (lambda data: {"fills": data.fills.replace("BUY", "LONG")}, r"got \['LONG'\]"),
        (lambda data: {"ts_ns": data.ts_ns[::-1]}, "non-decreasing"),
    ],
)
def test_data_that_does_not_fit_together_is_refused(report_data: ReportData, change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(report_data, **change(report_data))
