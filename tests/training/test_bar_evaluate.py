import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student_t

from nautilus_torchserve.training.price.dataset import PriceDataset
from nautilus_torchserve.training.price.evaluate import Forecast, coverage, evaluate, scores, sign_calibration
from nautilus_torchserve.training.price.run import BASELINES, constant_log_likelihood

ROWS, SCALE = 4_000, 5e-4


def forecast(signal: float, foreseen: float, sharpness: float = 1.0, seed: int = 5) -> Forecast:
    """Returns that have a signal of this size, and a model that foresees so much of it."""
    random = np.random.default_rng(seed)
    known = signal * SCALE * random.normal(0, 1, ROWS)
    returns = known + student_t.rvs(4, scale=SCALE, size=ROWS, random_state=random)
    return Forecast(
        returns=returns,
        location=foreseen * known,
        scale=np.full(ROWS, SCALE),
        sharpness=np.full(ROWS, sharpness),
        baselines={"no change": np.zeros(ROWS), "last return": np.roll(returns, 1)},
        constant_log_likelihood=student_t.logpdf(returns, 4, 0, SCALE),
    )


def test_model_with_skill_beats_the_baselines() -> None:
    evaluation = evaluate(forecast(signal=0.5, foreseen=1.0), block_rows=20, seed=1)

    assert evaluation["beats_baselines"]
    assert evaluation["edge"].startswith("The model beats every baseline")
    assert evaluation["gains"]["rmse"]["best_baseline"] == "no change"
    assert evaluation["gains"]["rmse"]["interval"][0] > 0
    assert evaluation["log_likelihood"]["interval"][0] > 0


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_model_without_skill_has_no_edge(noise: float) -> None:
    guesses = noise * SCALE * np.random.default_rng(9).normal(0, 1, ROWS)

    evaluation = evaluate(replace(forecast(signal=0.05, foreseen=0.0), location=guesses), block_rows=20, seed=1)

    assert not evaluation["beats_baselines"]
    assert evaluation["edge"].startswith("No edge")


def test_a_model_that_is_wrong_is_worse_than_no_change() -> None:
    evaluation = evaluate(forecast(signal=0.5, foreseen=-1.0), block_rows=20, seed=1)

    assert evaluation["edge"].startswith("No edge: the model is worse")
    assert evaluation["scores"]["model"]["directional_interval"][1] < 0.5


def test_right_signs_with_far_too_large_returns_do_not_beat_the_baselines() -> None:
    evaluation = evaluate(forecast(signal=0.5, foreseen=6.0), block_rows=20, seed=1)

    assert evaluation["gains"]["direction"]["interval"][0] > 0
    assert evaluation["gains"]["rmse"]["interval"][1] < 0
    assert not evaluation["beats_baselines"]


def test_scores_are_the_textbooks() -> None:
    some = forecast(signal=0.5, foreseen=1.0)

    model = scores(some)["model"]

    error = 1e4 * (some.location - some.returns)
    assert model["rmse_bps"] == pytest.approx(np.sqrt((error**2).mean()))
    assert model["mae_bps"] == pytest.approx(np.abs(error).mean())
    assert model["directional_accuracy"] == pytest.approx((some.location * some.returns > 0).mean())
    assert scores(some)["no change"]["directional_accuracy"] is None


def test_the_evaluation_is_plain_json() -> None:
    evaluation = evaluate(forecast(signal=0.5, foreseen=0.0), block_rows=20, seed=1)

    assert json.loads(json.dumps(evaluation, allow_nan=False)) == evaluation


def test_true_intervals_have_their_nominal_coverage() -> None:
    for row in coverage(forecast(signal=0.3, foreseen=1.0)):
        assert row["covered"] == pytest.approx(row["level"], abs=0.025)


def test_true_confidence_is_calibrated_and_false_confidence_is_not() -> None:
    honest = sign_calibration(forecast(signal=0.7, foreseen=1.0))
    boastful = sign_calibration(forecast(signal=0.7, foreseen=1.0, sharpness=5.0))

    assert honest["ece"] < 0.03 < boastful["ece"]
    assert sum(bucket["count"] for bucket in honest["sign"]) == ROWS
    assert all(0.5 <= bucket["confidence"] <= 1 for bucket in honest["sign"])


def test_folds_are_scored_as_one(dataset: PriceDataset) -> None:
    some = forecast(signal=0.5, foreseen=1.0)
    halves = [
        Forecast(
            *(values[part] for values in (some.returns, some.location, some.scale, some.sharpness)),
            {name: values[part] for name, values in some.baselines.items()},
            some.constant_log_likelihood[part],
        )
        for part in (slice(None, 1_000), slice(1_000, None))
    ]

    assert scores(Forecast.concat(halves)) == scores(some)


def test_baselines_use_past_bars_only(dataset: PriceDataset) -> None:
    """The same forecasts when every bar after the window is another."""
    fold = dataset.folds[-1]
    cut = fold.test.ends[0]
    columns = dataset.columns.copy()
    columns[cut + 1 :] *= 3
    changed = replace(dataset, columns=columns)

    for rule in BASELINES.values():
        assert rule(dataset, fold)[0] == rule(changed, fold)[0]


def test_last_return_baseline_repeats_the_last_return(dataset: PriceDataset) -> None:
    fold = dataset.folds[0]
    close = dataset.bars.prices()

    np.testing.assert_allclose(
        BASELINES["last return"](dataset, fold),
        np.log(close[fold.test.ends] / close[fold.test.ends - 1]),
        rtol=0,
        atol=2e-7,  # windows are float32
    )


def test_the_constant_distribution_is_fitted_to_the_training_part(dataset: PriceDataset) -> None:
    fold = dataset.folds[0]

    fitted = constant_log_likelihood(fold).mean()

    for scale in (0.5, 2.0):
        other = student_t.logpdf(fold.test.returns, 4, 0, scale * fold.train.returns.std() / np.sqrt(2)).mean()
        assert fitted > other
