import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nautilus_torchserve.training.fit.bootstrap import is_gain, is_loss
from nautilus_torchserve.training.price.evaluate import mae, rmse, signs

ends = st.floats(-1, 1) | st.floats(-0.002, 0.002)


@given(ends, ends, st.integers(0, 5))
def test_gain_counts_at_its_printed_precision(one: float, other: float, decimals: int) -> None:
    low, high = sorted((one, other))
    shown = [float(f"{end:+.{decimals}f}") for end in (low, high)]

    assert is_gain([low, high], decimals) == (shown[0] > 0)
    assert is_loss([low, high], decimals) == (shown[1] < 0)


@pytest.mark.parametrize("kind", ["tick", "price", "sentiment", "ensemble"])
@pytest.mark.parametrize(("ends", "verdict"), [((4e-5, 4.9e-5), []), ((0.5, 0.6), ["gain"]), ((-0.6, -0.5), ["loss"])])
def test_no_model_is_better_by_an_interval_that_prints_as_zero(
    kind: str, ends: tuple[float, float], verdict: list[str]
) -> None:
    sentence = words(kind, list(ends))

    patterns = {"gain": "The model (beats|reads .* better)|The news adds", "loss": "No edge: |The .* worse"}
    assert [name for name, pattern in patterns.items() if re.match(pattern, sentence)] == verdict, sentence


def words(kind: str, interval: list[float]) -> str:
    """Return an evaluation's verdict on a gain with this interval."""
    from nautilus_torchserve.training.ensemble import run as ensemble_evaluate
    from nautilus_torchserve.training.price import evaluate as bar_evaluate
    from nautilus_torchserve.training.sentiment import evaluate as sentiment_evaluate
    from nautilus_torchserve.training.tick import evaluate as tick_evaluate

    gain = {"best_baseline": "chance", "gain": sum(interval) / 2, "interval": interval}
    if kind == "tick":
        return tick_evaluate._edge_sentence({"macro_f1": gain, "log_loss": gain})
    if kind == "sentiment":
        gains = {"accuracy": gain, "macro_f1": gain}
        return sentiment_evaluate._edge_sentence(gains, sentiment_evaluate.beats_baselines(gains))
    if kind == "price":
        bars = {"rmse": {**gain, "gain_bps": gain["gain"]}, "direction": gain}
        return bar_evaluate._edge_sentence(bars, bar_evaluate.beats_baselines(bars))
    scores = {name: {"directional_accuracy": 0.5} for name in ("ensemble", "price alone")}
    tiny = [end / 10 for end in interval] if abs(interval[0]) < 1e-4 else interval
    return ensemble_evaluate._edge_sentence(scores, {"value": gain["gain"], "interval": tiny}, 100)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=30))
def test_errors_equal_scikit_learns(rows: list[tuple[float, float]]) -> None:
    from sklearn import metrics as oracle

    actual, forecast = (np.array(column) for column in zip(*rows, strict=True))

    assert rmse(actual, forecast) == pytest.approx(oracle.root_mean_squared_error(actual, forecast), rel=1e-9)
    assert mae(actual, forecast) == pytest.approx(oracle.mean_absolute_error(actual, forecast), rel=1e-9)
    right, counted = signs(actual, forecast)
    assert counted.tolist() == [bool(one and other) for one, other in rows]
    assert right[counted].tolist() == [(one > 0) == (other > 0) for one, other in rows if one and other]
