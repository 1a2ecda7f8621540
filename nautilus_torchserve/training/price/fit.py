"""Fit of a price model: scaler, network, and the calibration of its confidence."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import nn

from model_defs.return_network import ReturnNetwork, distribution, negative_log_likelihood, relative
from nautilus_torchserve.market.trades.trades import BadData
from nautilus_torchserve.training.fit.loop import (
    Checkpoints,
    FitConfig,
    History,
    check_at_least,
    check_positive,
    fit_loop,
    mixed_precision,
)
from nautilus_torchserve.training.price.dataset import Fold, Part, PriceDataset

FORECAST_WINDOWS = 1024
"""Batch size where no gradient is needed."""
WARM_UP_SHARE = 0.05
"""Share of all steps in which the learning rate rises to its maximum."""
_LARGEST_SHARPNESS = 20.0


@dataclass(frozen=True)
class PriceFitConfig(FitConfig):
    """Settings of a fit."""

    epochs: int = 15
    patience: int = 5
    learning_rate: float = 2e-3
    batch_windows: int = 256
    """Batch size (windows)."""
    clip_norm: float = 1.0
    """Largest gradient norm; larger ones are clipped (Pascanu et al. 2013)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "batch_windows")
        check_positive(self, "clip_norm")


def fit_fold(
    dataset: PriceDataset,
    fold: Fold,
    build: Callable[[], nn.Module],
    config: PriceFitConfig,
    device: torch.device,
    checkpoints: Checkpoints,
    on_epoch: Callable[[History], None],
) -> tuple[ReturnNetwork, History]:
    """Fit a network on a fold's training part, with early stopping on its validation part.

    The loss is the negative log-likelihood of the next return. The learning rate rises over the first
    steps and falls along a cosine (Loshchilov & Hutter 2017) to zero at the last of ``epochs``. On CUDA
    the network computes in bfloat16 where it can. An epoch depends on seed, number and state alone, so
    that an interrupted fit continues to the same weights (on a CPU: to the same bits).

    Parameters
    ----------
    build : callable
        Returns the untrained `ReturnNetwork`, its initial weights drawn from torch's seed.

    Returns
    -------
    ReturnNetwork
        On the CPU, in eval mode, with the weights of the best epoch and its confidence calibrated.
    History
    """
    torch.manual_seed(config.seed)
    network = build()
    assert isinstance(network, ReturnNetwork)
    _fit_scaler(network, dataset, fold.train)
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    history = fit_loop(
        network,
        optimizer,
        lambda epoch: _train_epoch(network, optimizer, dataset, fold.train, config, epoch, device),
        lambda: _validation_loss(network, dataset, fold.validation, device),
        config,
        checkpoints,
        on_epoch,
    )
    _calibrate(network, forecast(network, dataset, fold.validation.ends, device), fold.validation.returns)
    return network.cpu().eval(), history


def forecast(
    network: ReturnNetwork, dataset: PriceDataset, ends: NDArray[np.int64], device: torch.device
) -> NDArray[np.float64]:
    """Return location and scale of the return after each of these windows, float64 [m, 2]."""
    network.to(device).eval()
    with torch.inference_mode(), mixed_precision(device):
        parts = [
            network(torch.from_numpy(dataset.rows(ends[at : at + FORECAST_WINDOWS])).to(device)).float().cpu()
            for at in range(0, len(ends), FORECAST_WINDOWS)
        ]
    return torch.cat(parts).double().numpy()


def _fit_scaler(network: ReturnNetwork, dataset: PriceDataset, part: Part) -> None:
    """Fit mean and deviation of each step and column over all windows, and the returns' root mean square."""
    total, squares = (torch.zeros_like(network.center, dtype=torch.float64) for _ in range(2))  # (T, F)
    for at in range(0, len(part), FORECAST_WINDOWS):
        rows = relative(torch.from_numpy(dataset.rows(part.ends[at : at + FORECAST_WINDOWS])).double())  # (B, T, F)
        total, squares = total + rows.sum(dim=0), squares + rows.square().sum(dim=0)
    mean = total / len(part)
    deviation = (squares / len(part) - mean**2).clamp(min=0.0).sqrt()
    network.center.copy_(mean)
    network.scale.copy_(torch.where(deviation > 1e-12, deviation, 1.0))  # a constant column stays finite
    root_mean_square = float(np.sqrt(np.mean(part.returns.astype(np.float64) ** 2)))
    if root_mean_square == 0.0:
        raise BadData(f"{dataset.bars.source}: expected moving prices in the training part, got one price throughout")
    network.return_scale.fill_(root_mean_square)


def _train_epoch(
    network: ReturnNetwork,
    optimizer: torch.optim.Optimizer,
    dataset: PriceDataset,
    part: Part,
    config: PriceFitConfig,
    epoch: int,
    device: torch.device,
) -> float:
    """Make one pass and return its mean loss."""
    network.train()
    torch.manual_seed(config.seed * 1_000_003 + epoch)  # dropout
    order = np.random.default_rng([config.seed, epoch]).permutation(len(part))
    steps = -(-len(part) // config.batch_windows)
    total = 0.0
    for step in range(steps):
        batch = order[step * config.batch_windows : (step + 1) * config.batch_windows]
        rate = _learning_rate(epoch * steps + step, config.epochs * steps, config.learning_rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = torch.from_numpy(dataset.rows(part.ends[batch])).to(device)
        returns = torch.from_numpy(part.returns[batch]).to(device)
        with mixed_precision(device):
            outputs = network(rows)
        loss = negative_log_likelihood(outputs, returns).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(part)


def _learning_rate(step: int, steps: int, greatest: float) -> float:
    warm_up = max(1, int(WARM_UP_SHARE * steps))
    if step < warm_up:
        return greatest * (step + 1) / warm_up
    return greatest * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _validation_loss(network: ReturnNetwork, dataset: PriceDataset, part: Part, device: torch.device) -> float:
    outputs = torch.from_numpy(forecast(network, dataset, part.ends, device))
    return negative_log_likelihood(outputs, torch.from_numpy(part.returns).double()).mean().item()


def _calibrate(network: ReturnNetwork, outputs: NDArray[np.float64], returns: NDArray[np.float32]) -> None:
    """Choose the sharpness that makes the probabilities of the validation part's signs likeliest.

    One number, like the temperature of Guo et al. 2017; 0 means signs that are no better than a coin's.
    """
    moved = returns != 0
    signed = torch.from_numpy(np.sign(returns[moved]) * outputs[moved, 0] / outputs[moved, 1])

    def loss(sharpness: float) -> float:
        return -distribution(sharpness * signed).clamp(min=1e-12).log().mean().item()

    if len(signed):
        network.sharpness.fill_(float(minimize_scalar(loss, bounds=(0.0, _LARGEST_SHARPNESS), method="bounded").x))
