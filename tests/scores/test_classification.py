import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from nautilus_torchserve.scores.classification import (
    accuracy,
    calibration,
    class_scores,
    confusion_matrix,
    label_scores,
    log_losses,
    logit_log_losses,
    macro_f1,
    odds_log_losses,
)
from nautilus_torchserve.scores.latency import percentiles_ms

CLASSES = 3
pairs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60).map(
    lambda both: np.array(both, dtype=np.int8).T
)
predictions = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(pairs)
def test_matrix_and_scores_are_those_of_scikit_learn(both: np.ndarray) -> None:
    actual, predicted = both
    matrix = confusion_matrix(actual, predicted, CLASSES)

    assert (matrix == oracle.confusion_matrix(actual, predicted, labels=range(CLASSES))).all()
    assert accuracy(matrix) == pytest.approx(oracle.accuracy_score(actual, predicted))
    assert macro_f1(matrix) == pytest.approx(oracle.f1_score(actual, predicted, average="macro"))
    assert label_scores(actual, predicted, CLASSES) == {"accuracy": accuracy(matrix), "macro_f1": macro_f1(matrix)}
    precision, recall, _, support = oracle.precision_recall_fscore_support(
        actual, predicted, labels=range(CLASSES), zero_division=np.nan
    )
    scores = class_scores(matrix)
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    assert (scores.support == support).all()


@given(predictions)
def test_calibration_error_is_that_of_the_paper_s_bins(both: list[tuple[float, bool]]) -> None:
    confidence, right = (np.array(column) for column in zip(*both, strict=True))
    result = calibration(confidence, right)
    error = 0.0
    for low, high in zip(result.edges[:-1], result.edges[1:], strict=True):
        inside = (confidence > low) & (confidence <= high) | (low == 0) & (confidence == 0)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())

    assert result.ece == pytest.approx(error, abs=1e-12)
    assert result.counts.sum() == len(both)


def test_confident_and_correct_predictions_are_calibrated() -> None:
    assert calibration(np.ones(5), np.ones(5, dtype=bool)).ece == 0.0


def test_percentiles_are_in_milliseconds_and_skip_nan() -> None:
    assert percentiles_ms(np.array([1e6, np.nan, 3e6])) == pytest.approx({"p50": 2.0, "p95": 2.9, "p99": 2.98})


def test_empty_inputs_have_no_scores() -> None:
    empty = np.zeros((CLASSES, CLASSES), dtype=np.int64)

    assert np.isnan(accuracy(empty))
    assert np.isnan(macro_f1(empty))
    assert np.isnan(calibration(np.empty(0), np.empty(0, dtype=bool)).ece)
    assert np.isnan(list(percentiles_ms(np.empty(0)).values())).all()


@given(st.lists(pairs, min_size=1, max_size=4))
def test_scores_of_several_tables_are_those_of_each(several: list[np.ndarray]) -> None:
    tables = np.stack([confusion_matrix(*both, CLASSES) for both in several])

    np.testing.assert_array_equal(macro_f1(tables), [macro_f1(table) for table in tables])
    np.testing.assert_array_equal(accuracy(tables), [accuracy(table) for table in tables])


@given(st.lists(st.tuples(st.floats(-6, 6), st.floats(-6, 6), st.integers(0, 1)), min_size=1, max_size=30))
def test_log_losses_are_those_of_scikit_learn(rows: list[tuple[float, float, int]]) -> None:
    logits = np.array([row[:2] for row in rows])
    labels = np.array([row[2] for row in rows])
    odds = logits[:, 1] - logits[:, 0]
    probabilities = np.stack([1 / (1 + np.exp(odds)), 1 / (1 + np.exp(-odds))], axis=1)

    expected = oracle.log_loss(labels, probabilities, labels=[0, 1])

    for losses in (
        logit_log_losses(logits, labels),
        odds_log_losses(odds, labels == 1),
        log_losses(probabilities, labels),
    ):
        assert losses.mean() == pytest.approx(expected, rel=1e-6)
