"""Integrated gradients against what is known without them: linear networks, planted causes, sums."""

import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from hypothesis import given, settings
from hypothesis import strategies as st
from price_run import golden_rows
from torch import nn

from model_defs import cnn_lstm, patch_tst, price_lstm, residual_price_lstm, tick_classifier
from model_defs.return_network import CLOSE, OUTPUTS, VOLUME, ReturnNetwork, predict, relative
from nautilus_torchserve.features.bar import INDICATORS, bar_schema
from nautilus_torchserve.features.tick import tick_schema
from nautilus_torchserve.inference.explain import integrate as explain
from nautilus_torchserve.inference.explain.integrate import (
    MAX_PIECES,
    STEPS,
    Integral,
    TimeLimit,
    _attribute,
    _cut,
    explain_each,
    fair_share,
    float64_copy,
    integrate,
)
from nautilus_torchserve.inference.models.price import check_windows, eventless, explain_window
from nautilus_torchserve.inference.models.tick import explain_features
from nautilus_torchserve.training.fit.loop import threads
from nautilus_torchserve.wire.body import RowRequest
from nautilus_torchserve.wire.errors import NotExplained, OutputNotFinite
from support import PROJECT

TICKS = tick_schema().columns
NETWORKS = {
    "lstm": (price_lstm, {"hidden": 8}),
    "gru": (price_lstm, {"hidden": 8, "cell": "gru"}),
    "residual": (residual_price_lstm, {"hidden": 8, "layers": 2, "heads": 2}),
    "cnn": (cnn_lstm, {"channels": 8, "hidden": 8}),
    "patchtst": (patch_tst, {"hidden": 8, "layers": 1, "heads": 2, "feed_forward": 16}),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread, as in a worker."""
    with threads(1):
        yield


def tick_network(seed: int = 0) -> nn.Module:
    """A classifier with a scaler, in float64, that nobody fitted."""
    torch.manual_seed(seed)
    network = tick_classifier.build({})
    network.center.copy_(torch.tensor([0.5, 0.0, 0.4, 0.3]))
    network.scale.copy_(torch.tensor([2.0, 0.5, 0.2, 0.2]))
    return float64_copy(network.eval())


def price_network(kind: str) -> ReturnNetwork:
    """A price network of this kind in float64, its scaler fitted to the golden windows, its answers of several bps."""
    module, config = NETWORKS[kind]
    torch.manual_seed(0)
    network = module.build(config).eval()
    windows = torch.from_numpy(golden_rows(network.center.shape[1]))
    network.scale.copy_(relative(windows).std(dim=0) + 1e-6)
    network.return_scale.fill_(5e-4)
    nn.init.normal_(network.head.weight, std=1.0)
    return float64_copy(network)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-5, 5), min_size=4, max_size=4),
    st.lists(st.floats(-5, 5), min_size=4, max_size=4),
    st.lists(st.floats(-5, 5), min_size=4, max_size=4),
)
def test_of_a_linear_output_each_part_is_weight_times_way(
    weights: list[float], row: list[float], baseline: list[float]
) -> None:
    weight, given_row, start = (torch.tensor([values], dtype=torch.float64) for values in (weights, row, baseline))

    integral = integrate(lambda rows: (rows * weight).sum(dim=1) + 3.0, [given_row], [start], 1e-9, TimeLimit())

    np.testing.assert_allclose(integral.attributions[0], (weight * (given_row - start))[0], atol=1e-5)
    assert integral.steps == STEPS


def test_inputs_of_one_path_share_what_they_do_together() -> None:
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)

    integral = integrate(lambda a, b: (a * b).sum(dim=1), [one, 3 * one], [zero, zero], 1e-9, TimeLimit(), 7)

    assert [attribution.item() for attribution in integral.attributions] == pytest.approx([1.5, 1.5])


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 4), st.sampled_from([None, *tick_classifier.CLASSES]))
def test_a_ticks_attributions_add_up_to_what_they_explain(row: tuple[float, ...], output: str | None) -> None:
    network, given_row = tick_network(), np.array(row, np.float32)

    explanation = explain_features(network, given_row, TICKS, output, TimeLimit())

    with torch.no_grad():
        ends = torch.stack([torch.from_numpy(given_row).double(), network.center])
        value, baseline = network(ends).softmax(dim=1)[:, tick_classifier.CLASSES.index(explanation["output"])].tolist()
    total = sum(feature["attribution"] for feature in explanation["features"])
    assert (explanation["value"], explanation["baseline_value"]) == pytest.approx((value, baseline))
    assert total - (value - baseline) == pytest.approx(explanation["completeness_error"], abs=1e-12)
    assert abs(total - (value - baseline)) <= max(0.01 * abs(value - baseline), 1e-4)
    assert explanation["complete"]


def test_without_an_output_named_the_likeliest_class_is_explained() -> None:
    network, row = tick_network(), np.array([4.0, 0.9, 0.5, 0.1], np.float32)

    explanation = explain_features(network, row, TICKS, None, TimeLimit())

    with torch.no_grad():
        likeliest = network(torch.from_numpy(row).double().unsqueeze(0)).argmax().item()
    assert explanation["output"] == tick_classifier.CLASSES[likeliest]


def test_a_planted_cause_comes_first_and_what_is_not_looked_at_has_no_part() -> None:
    network = tick_network()
    with torch.no_grad():
        network.hidden.weight[:, 1] *= 20
        network.hidden.weight[:, 3] = 0

    explanation = explain_features(network, np.array([1.5, 0.4, 0.6, 0.9], np.float32), TICKS, "buy", TimeLimit())

    parts = {feature["name"]: abs(feature["attribution"]) for feature in explanation["features"]}
    assert max(parts, key=parts.__getitem__) == "flow_imbalance"
    assert parts["relative_gap"] == 0


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_windows_attributions_add_up_to_what_they_explain(kind: str, output: str) -> None:
    network = price_network(kind)
    columns = bar_schema(indicators=network.center.shape[1] > 5).columns
    for window in golden_rows(len(columns))[:2]:
        explanation = explain_window(network, window, columns, output, TimeLimit())

        total = np.sum(explanation["attributions"])
        floor = {"price": 1e-7 * window[-1, CLOSE], "confidence": 1e-4}.get(output, 1e-3)
        difference = explanation["value"] - explanation["baseline_value"]
        assert abs(total - difference) <= max(0.01 * abs(difference), floor)
        assert explanation["complete"]
        assert np.shape(explanation["attributions"]) == np.shape(explanation["window"]) == window.shape


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 7), st.floats(0, 1))
def test_every_point_of_the_path_is_a_window(which: int, alpha: float) -> None:
    window = torch.from_numpy(golden_rows(5)[which : which + 1].astype(np.float64))
    network = price_network("lstm")

    start = eventless(network, window)
    between = start + alpha * (window - start)

    check_windows(RowRequest(between.numpy()))
    assert between[0, -1, CLOSE] == pytest.approx(window[0, -1, CLOSE].item(), rel=1e-12)
    assert between[..., VOLUME].mean() == pytest.approx(window[..., VOLUME].mean().item(), rel=1e-12)


def test_where_nothing_happened_there_is_nothing_to_attribute() -> None:
    network, (window, *_) = price_network("lstm"), golden_rows(5)
    flat = window.copy()
    flat[:, :VOLUME], flat[:, VOLUME] = 128.0, 2.0

    explanation = explain_window(network, flat, bar_schema().columns, None, TimeLimit())

    assert np.abs(explanation["attributions"]).max() == 0
    assert explanation["value"] == explanation["baseline_value"]


def test_indicators_are_compared_with_their_centre() -> None:
    network = price_network("cnn")
    network.center[:, VOLUME + 1 :] = 0.25
    window = torch.from_numpy(golden_rows(5 + len(INDICATORS))[:1].astype(np.float64))

    assert (eventless(network, window)[..., VOLUME + 1 :] == 0.25).all()


def test_an_output_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    row = np.zeros(4, np.float32)

    with pytest.raises(NotExplained, match="expected output buy, sell, hold to explain, got 'rally'"):
        explain_features(tick_network(), row, TICKS, "rally", TimeLimit())


def test_an_output_that_is_not_finite_is_not_explained() -> None:
    one = torch.ones(1, 1, dtype=torch.float64)

    with pytest.raises(OutputNotFinite, match="expected a finite output to explain, got nan"):
        integrate(lambda rows: rows[:, 0] / 0 - rows[:, 0] / 0, [one], [one], 1e-9, TimeLimit())


def step(rows: torch.Tensor) -> torch.Tensor:
    """Return a step function, which no number of points integrates well."""
    return torch.sigmoid((rows[:, 0] - 0.3) * 1e6)


def test_attributions_that_do_not_add_up_are_marked_incomplete() -> None:
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)

    integral = integrate(step, [one], [zero], 1e-4, TimeLimit())

    assert integral.steps == STEPS * MAX_PIECES
    assert not integral.complete
    assert integral.to_dict()["complete"] is False


def test_steps_are_not_doubled_when_time_is_up() -> None:
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)

    assert integrate(step, [one], [zero], 1e-4, TimeLimit(time.perf_counter())).steps == STEPS


def test_completeness_is_the_sum_less_the_difference() -> None:
    integral = Integral((np.array([0.2, 0.3]), np.array([[0.1]])), 1.0, 0.5, 32, 0.2)

    assert integral.completeness_error == pytest.approx(0.1)
    assert integral.complete


@pytest.mark.parametrize("pieces", [1, 4])
def test_attributions_are_those_of_captum(pieces: int) -> None:
    network, (window, *_) = price_network("lstm"), golden_rows(5)
    given_window = torch.from_numpy(window.astype(np.float64)).unsqueeze(0)
    start = eventless(network, given_window)

    def forecast(windows: torch.Tensor) -> torch.Tensor:
        return predict(network, windows)[:, 1]

    attributed = _attribute(forecast, [given_window], [start], pieces, math.inf, 7)

    ends, begins = _cut([given_window], [start], pieces)
    captums = IntegratedGradients(forecast).attribute(ends, begins, n_steps=STEPS)
    np.testing.assert_allclose(attributed[0], captums[0].sum(dim=0).detach().numpy(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("slope", "steps"), [(5, STEPS), (13, 2 * STEPS)])
def test_few_points_count_only_where_they_are_far_more_exact_than_required(slope: float, steps: int) -> None:
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)

    def curve(rows: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid((rows[:, 0] - 0.3) * slope)

    (few,) = _attribute(curve, [one], [zero], 1, math.inf, STEPS)
    assert few.sum() == pytest.approx(float(curve(one) - curve(zero)), rel=0.01)  # both within the tolerance
    assert integrate(curve, [one], [zero], 1e-9, TimeLimit()).steps == steps


def test_a_path_is_given_up_when_time_is_up_unless_it_was_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)

    def steps(until_s: float) -> int:
        looks = itertools.count()  # a second passes with each look at the clock, three with a pass
        monkeypatch.setattr(explain, "time", SimpleNamespace(perf_counter=lambda: next(looks)))
        return integrate(step, [one], [zero], 1e-4, TimeLimit(until_s=until_s)).steps

    assert steps(until_s=3.5) == STEPS
    assert steps(until_s=6.5) == 2 * STEPS
    with pytest.raises(TimeoutError):
        steps(until_s=0.5)


def test_work_left_undone_when_time_is_up_is_reported() -> None:
    def explain_one(number: int, limit: TimeLimit) -> dict[str, Any]:
        if number == 4:
            raise TimeoutError
        return {"number": number}

    with pytest.raises(NotExplained, match=r"of 8 rows within the time .*, got 4: send fewer .* '-explain'"):
        explain_each(explain_one, range(8), "rows", math.inf)
    with pytest.raises(NotExplained, match=r"of 3 rows within the time .*, got 0"):
        explain_each(explain_one, range(3), "rows", -math.inf)
    assert explain_each(explain_one, range(3), "rows", math.inf) == [{"number": number} for number in range(3)]


def test_each_has_the_same_part_of_the_time() -> None:
    now = time.perf_counter()

    assert fair_share(now + 60, 4) == pytest.approx(now + 15, abs=5)
    assert fair_share(now - 60, 4) == pytest.approx(now, abs=5)


def test_workers_do_not_import_captum() -> None:
    script = (
        "import sys, json, handlers.tick_handler, handlers.price_handler, handlers.ensemble_handler; "
        "print(json.dumps([name in sys.modules for name in ('captum', 'matplotlib')]))"
    )

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PROJECT, check=True)

    assert json.loads(result.stdout.splitlines()[-1]) == [False, False]
