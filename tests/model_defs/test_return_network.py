"""What price models share: the distribution, comparable windows, the columns of an answer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from torch import nn

from model_defs.return_network import (
    CLIP,
    CLOSE,
    DEGREES_OF_FREEDOM,
    OUTPUTS,
    PRICES,
    VOLUME,
    ReturnNetwork,
    distribution,
    negative_log_likelihood,
    predict,
    relative,
)

T4 = stats.t(DEGREES_OF_FREEDOM)


class LastStep(nn.Module):
    """The smallest encoder: the last bar, as it comes out of the standardisation."""

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        return window[:, -1]


def network(shape: tuple[int, ...] = (60, 5), location: float = 0.0, spread: float = 0.0) -> ReturnNetwork:
    """Forecasts the same for each window: ``location`` and softplus(``spread``), in units of the returns' scale."""
    time_steps, inputs = shape
    made = ReturnNetwork(LastStep(), inputs, inputs, time_steps)
    made.return_scale.fill_(1e-3)
    with torch.no_grad():
        made.head.bias.copy_(torch.tensor([location, spread]))
    return made.eval()


@st.composite
def windows_of(draw: st.DrawFn) -> torch.Tensor:
    """Windows of 3 to 9 steps, 5 to 7 columns, positive; volumes may be 0 but for the last bar's."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(3, 9)), draw(st.integers(5, 7)))
    rows = draw(hnp.arrays(np.float32, shape, elements=st.floats(0.125, 8192, width=32)))
    silent = draw(hnp.arrays(np.bool_, shape[:2]))
    rows[..., VOLUME][silent] = 0
    rows[:, -1, VOLUME] = draw(st.floats(0.125, 8192, width=32))
    return torch.from_numpy(rows)


@given(hnp.arrays(np.float64, st.integers(1, 50), elements=st.floats(-1e4, 1e4)))
def test_distribution_is_students(quantiles: np.ndarray) -> None:
    np.testing.assert_allclose(distribution(torch.from_numpy(quantiles)), T4.cdf(quantiles), rtol=1e-9, atol=1e-15)


@given(
    hnp.arrays(np.float64, 20, elements=st.floats(-0.5, 0.5)),
    st.floats(-0.1, 0.1),
    st.floats(1e-5, 0.1),
)
def test_negative_log_likelihood_is_students(returns: np.ndarray, location: float, scale: float) -> None:
    forecast = torch.tensor([[location, scale]], dtype=torch.float64).repeat(len(returns), 1)

    loss = negative_log_likelihood(forecast, torch.from_numpy(returns))

    expected = -stats.t.logpdf(returns, DEGREES_OF_FREEDOM, loc=location, scale=scale)
    np.testing.assert_allclose(loss, expected, rtol=1e-9, atol=1e-9)


@given(windows_of(), st.integers(-12, 12), st.integers(-12, 12))
def test_units_of_price_and_volume_do_not_matter_to_a_bit(rows: torch.Tensor, price: int, volume: int) -> None:
    other = rows.clone()
    other[..., :PRICES] *= 2.0**price
    other[..., VOLUME] *= 2.0**volume

    assert torch.equal(relative(other), relative(rows))


@given(windows_of())
def test_relative_is_its_formula(rows: torch.Tensor) -> None:
    found = relative(rows).numpy()

    exact = rows.double().numpy()
    prices = np.log(exact[..., :PRICES] / exact[:, -1:, CLOSE : CLOSE + 1])
    volumes = np.log(exact[..., VOLUME] / exact[..., VOLUME].mean(axis=1, keepdims=True) + 0.01)
    np.testing.assert_allclose(found[..., :PRICES], prices, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[..., VOLUME], volumes, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found[..., VOLUME + 1 :], rows[..., VOLUME + 1 :])
    assert (found[:, -1, CLOSE] == 0).all()


@settings(deadline=None)
@given(windows_of(), st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 3))
def test_answer_is_what_the_distribution_says(
    rows: torch.Tensor, location: float, spread: float, sharpness: float
) -> None:
    model = network(rows.shape[1:], location, spread)
    model.sharpness.fill_(sharpness)
    with torch.inference_mode():
        forecast = model(rows).double().numpy()
        answer = dict(zip(OUTPUTS, predict(model, rows).double().numpy().T, strict=True))

    close = rows[:, -1, CLOSE].double().numpy()
    mean, scale = forecast.T
    np.testing.assert_allclose(answer["price"], close * np.exp(mean), rtol=1e-6)
    np.testing.assert_allclose(answer["return_bps"], 1e4 * np.expm1(mean), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(answer["sigma_bps"], 1e4 * stats.t.std(4, scale=scale), rtol=1e-5)
    np.testing.assert_allclose(answer["confidence"], T4.cdf(sharpness * np.abs(mean) / scale), rtol=1e-6)
    assert (answer["confidence"] >= 0.5).all()


def test_fresh_network_forecasts_no_change() -> None:
    rows = torch.rand(7, 60, 5) + 1

    with torch.inference_mode():
        answer = predict(ReturnNetwork(LastStep(), 5, 5).eval(), rows)

    assert torch.equal(answer[:, 0], rows[:, -1, CLOSE])
    assert torch.equal(answer[:, 1], torch.zeros(7))
    assert torch.equal(answer[:, 3], torch.full((7,), 0.5))


def test_scale_is_never_zero() -> None:
    with torch.inference_mode():
        forecast = network(spread=-1e6)(torch.rand(3, 60, 5) + 1)

    assert (forecast[:, 1] > 0).all()


@pytest.mark.parametrize("factor", [1e30, 1e-30], ids=["far above", "far below"])
def test_outliers_are_held_within_the_fitted_range(factor: float) -> None:
    rows = torch.rand(2, 60, 5) + 1
    rows[:, :-1, :PRICES] *= factor
    seen = []
    model = network()
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.scale.fill_(1e-3)

    with torch.inference_mode():
        model(rows)

    assert seen[0].abs().max() == CLIP


def test_each_step_and_column_has_a_scale_of_its_own() -> None:
    rows = torch.rand(3, 60, 5) + 1
    model = network()
    model.center.copy_(torch.rand(60, 5))
    model.scale.copy_(torch.rand(60, 5) + 0.5)

    standard = model.standardise(rows)

    expected = (relative(rows).numpy() - model.center.numpy()) / model.scale.numpy()
    np.testing.assert_allclose(standard, expected.clip(-CLIP, CLIP), rtol=1e-6)
    assert torch.equal(model.from_standard(standard), model(rows))
