"""The common parts of price models: comparable windows, and the distribution of the next return.

Price models differ only in their encoder, which turns a standardised window into one vector. Before it the
window is made relative to its own last close and mean volume, so that one set of weights serves any
instrument; after it a linear head gives location and scale of a Student t distribution of the next bar's
log return. With 4 degrees of freedom it has the fat tails of bars and a distribution function in closed
form.
"""

import math

import torch
from torch import nn

PRICES = 4
"""The first columns of a window are open, high, low and close, then volume, then indicators."""
CLOSE, VOLUME = 3, 4
OUTPUTS = ("price", "return_bps", "sigma_bps", "confidence")
"""Columns of `predict`."""
CLIP = 8.0
"""Standardised inputs are clamped to +-CLIP, so that no outlier leaves the fitted range."""
DEGREES_OF_FREEDOM = 4
_QUIET_VOLUME = 0.01
"""Added to a volume relative to its window's mean, so that a bar without trades has a logarithm."""
_LEAST_SCALE = 1e-3
"""Least scale, relative to the training returns' own."""
_LOG_NORMALISATION = math.log(8 / 3)  # -log of t4's density at its centre


class ReturnNetwork(nn.Module):
    """Location and scale of the next bar's log return.

    The fitted scaler (``center`` and ``scale`` of each time step and column, ``return_scale``) is part of the
    model: callers send raw windows. Relative to the last close, prices of an hour ago vary eight times as much as the
    last one before it; with one scale for all steps the last returns would vanish.

    Parameters
    ----------
    encoder : nn.Module
        float32 [batch, time, inputs] -> float32 [batch, width].
    inputs : int
        Columns of a window, 5 or more.
    width : int
        Size of the encoder's output.
    time_steps : int
        Bars of a window.

    Shapes
    ------
    input : float32 [batch, time, inputs], raw: open, high, low, close, volume, indicators
    output : float32 [batch, 2], location and scale in log returns
    """

    center: torch.Tensor
    scale: torch.Tensor
    return_scale: torch.Tensor
    sharpness: torch.Tensor

    def __init__(self, encoder: nn.Module, inputs: int, width: int, time_steps: int = 60) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(time_steps, inputs))
        self.register_buffer("scale", torch.ones(time_steps, inputs))
        self.register_buffer("return_scale", torch.ones(()))
        self.register_buffer("sharpness", torch.ones(()))  # calibrates the confidence, see `predict`
        self.encoder = encoder
        self.head = nn.Linear(width, 2)
        nn.init.zeros_(self.head.weight)  # a fit begins at "no change", the forecast to beat
        nn.init.zeros_(self.head.bias)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.from_standard(self.standardise(rows))

    def standardise(self, rows: torch.Tensor) -> torch.Tensor:
        """Standardise raw windows for the encoder, float32 [batch, time, inputs]."""
        return ((relative(rows) - self.center) / self.scale).clamp(-CLIP, CLIP)

    def from_standard(self, standard: torch.Tensor) -> torch.Tensor:
        """Compute the forecast for standardised windows, float32 [batch, 2]."""
        location, spread = self.head(self.encoder(standard)).float().unbind(dim=1)  # (B,), (B,)
        scale = nn.functional.softplus(spread) + _LEAST_SCALE
        return torch.stack([location, scale], dim=1) * self.return_scale  # (B, 2)


def relative(rows: torch.Tensor) -> torch.Tensor:
    """Make windows comparable: prices as logarithms relative to the last close, volumes to their mean.

    Parameters
    ----------
    rows : float32 [batch, time, inputs]
        Raw; positive prices, some volume.

    Returns
    -------
    float32 [batch, time, inputs]
        Indicator columns are unchanged.
    """
    last = rows[:, -1:, CLOSE : CLOSE + 1]  # (B, 1, 1)
    volume = rows[..., VOLUME : VOLUME + 1]  # (B, T, 1)
    prices = torch.log(rows[..., :PRICES] / last)  # (B, T, 4)
    volumes = torch.log(volume / volume.mean(dim=1, keepdim=True) + _QUIET_VOLUME)
    return torch.cat([prices, volumes, rows[..., VOLUME + 1 :]], dim=2)  # (B, T, F)


def predict(network: ReturnNetwork, rows: torch.Tensor) -> torch.Tensor:
    """Compute the columns of `OUTPUTS` for raw windows.

    ``price``
        Median of the next close, in the window's own units.
    ``return_bps``
        The simple return to it from the last close.
    ``sigma_bps``
        Standard deviation of the next log return.
    ``confidence``
        Probability that the next return, unless it is 0, has the sign of ``return_bps``; at least 0.5. That of
        the distribution, with location over scale times ``sharpness``, which is fitted on validation data.

    Shapes
    ------
    input : float32 [batch, time, inputs]
    output : float32 [batch, 4]
    """
    location, scale = network(rows).unbind(dim=1)  # (B,), (B,)
    confidence = distribution(network.sharpness * location.abs() / scale)
    sigma = scale * math.sqrt(DEGREES_OF_FREEDOM / (DEGREES_OF_FREEDOM - 2))
    return torch.stack([rows[:, -1, CLOSE] * location.exp(), 1e4 * location.expm1(), 1e4 * sigma, confidence], dim=1)


def negative_log_likelihood(forecast: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
    """Return the negative log density of a Student t with 4 degrees of freedom, for each window.

    Parameters
    ----------
    forecast : float32 [batch, 2]
        Location and scale.
    returns : float32 [batch]
        The next bars' log returns.

    Returns
    -------
    float32 [batch]
    """
    location, scale = forecast.unbind(dim=1)
    squared = ((returns - location) / scale).square()
    power = (DEGREES_OF_FREEDOM + 1) / 2
    return power * torch.log1p(squared / DEGREES_OF_FREEDOM) + scale.log() + _LOG_NORMALISATION


def distribution(quantile: torch.Tensor) -> torch.Tensor:
    """Return the distribution function of Student's t with 4 degrees of freedom (Abramowitz & Stegun 26.7.4)."""
    root = (4 + quantile.square()).sqrt()
    sine = quantile / root
    return 0.5 + 0.75 * sine * (1 - sine.square() / 3)
