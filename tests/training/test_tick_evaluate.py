import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss

from nautilus_torchserve.market.trades.labels import HOLD
from nautilus_torchserve.training.tick.dataset import DatasetSplit, Part
from nautilus_torchserve.training.tick.evaluate import BASELINES, Forecast, evaluate


def certain(part: Part, share: float = 0.9) -> np.ndarray:
    """Probabilities that know the future."""
    rows = np.full((len(part), 3), (1 - share) / 2, dtype=np.float32)
    rows[np.arange(len(part)), part.labels] = share
    return rows


def flat(part: Part) -> np.ndarray:
    """Probabilities that know nothing."""
    return np.full((len(part), 3), 1 / 3, dtype=np.float32)


def test_a_model_that_knows_the_future_beats_every_baseline(split: DatasetSplit) -> None:
    evaluation = evaluate(split, certain(split.train), certain(split.test), seed=1)

    assert evaluation["model"]["macro_f1"] == 1.0
    assert evaluation["beats_baselines"]
    assert evaluation["edge"].startswith("The model beats every baseline")


def test_model_without_information_has_no_edge(split: DatasetSplit) -> None:
    evaluation = evaluate(split, flat(split.train), flat(split.test), seed=1)

    assert not evaluation["beats_baselines"]
    assert evaluation["edge"].startswith("No edge")
    assert evaluation["gains"]["log_loss"]["gain"] < 0


def test_a_baseline_does_not_beat_itself(split: DatasetSplit) -> None:
    test = BASELINES["majority class"](split).probabilities
    train = np.tile(test[0], (len(split.train), 1))

    assert not evaluate(split, train, test, seed=1)["beats_baselines"]


def test_evaluation_has_all_keys_in_json_types(split: DatasetSplit) -> None:
    evaluation = evaluate(split, flat(split.train), flat(split.test), seed=1)

    assert set(evaluation["baselines"]) == {"majority class", "momentum rule", "logistic regression"}
    for scores in (evaluation["model"], *evaluation["baselines"].values()):
        assert set(scores) == {"macro_f1", "accuracy", "log_loss"}
    for gain in evaluation["gains"].values():
        assert gain["interval"][0] <= gain["gain"] <= gain["interval"][1]
    assert json.loads(json.dumps(evaluation)) == evaluation
    assert sum(evaluation["classes"].values()) == pytest.approx(1)


def test_the_same_seed_gives_the_same_intervals(split: DatasetSplit) -> None:
    one, two = (evaluate(split, flat(split.train), flat(split.test), seed=3) for _ in range(2))

    assert one == two


def test_log_loss_is_that_of_scikit_learn(split: DatasetSplit) -> None:
    evaluation = evaluate(split, certain(split.train, 0.5), certain(split.test, 0.5), seed=1)
    logistic = BASELINES["logistic regression"](split).probabilities

    assert evaluation["model"]["log_loss"] == pytest.approx(np.log(2), rel=1e-6)
    expected = log_loss(split.test.labels, logistic, labels=[0, 1, 2])
    assert evaluation["baselines"]["logistic regression"]["log_loss"] == pytest.approx(expected)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_look_at_no_label_of_the_test_part(split: DatasetSplit, name: str) -> None:
    blind = replace(split, test=replace(split.test, labels=np.zeros_like(split.test.labels)))

    one, two = BASELINES[name](split), BASELINES[name](blind)

    np.testing.assert_array_equal(one.predicted, two.predicted)
    np.testing.assert_array_equal(one.probabilities, two.probabilities)
    np.testing.assert_allclose(one.probabilities.sum(axis=1), 1.0)


def test_the_momentum_rule_finds_direction_and_threshold(split: DatasetSplit) -> None:
    def reversing(part: Part) -> Part:
        signal = part.rows[:, 0]
        return replace(part, labels=np.select([signal < -2, signal > 2], [0, 1], HOLD))

    made = replace(split, train=reversing(split.train), test=reversing(split.test))

    assert (BASELINES["momentum rule"](made).predicted == made.test.labels).mean() > 0.9


def test_decisions_need_the_probability_that_was_best_in_training() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    train = np.array([[0.5, 0.1, 0.4]] * 2 + [[0.1, 0.5, 0.4]] * 2 + [[0.3, 0.3, 0.4]] * 2)
    test = np.array([[0.5, 0.1, 0.4], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]])

    assert Forecast.of_probabilities(labels, train, test).predicted.tolist() == [0, 1, 2]
