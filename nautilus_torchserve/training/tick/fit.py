"""Fit of a tick model: cross-entropy, AdamW, early stopping, a checkpoint after each epoch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from model_defs.tick_classifier import TickClassifier, TickClassifierConfig
from nautilus_torchserve.training.fit.loop import Checkpoints, FitConfig, History, check_at_least, fit_loop, threads
from nautilus_torchserve.training.tick.dataset import DatasetSplit, Part


@dataclass(frozen=True)
class TickFitConfig(FitConfig):
    """Settings of a fit; the learning rate is constant."""

    epochs: int = 60
    patience: int = 10
    learning_rate: float = 3e-3
    batch_rows: int = 512
    """Batch size (rows)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "batch_rows")


def fit(
    split: DatasetSplit,
    network_config: TickClassifierConfig,
    config: TickFitConfig,
    checkpoints: Checkpoints,
    on_epoch: Callable[[History], None] = lambda history: None,
) -> tuple[TickClassifier, History]:
    """Fit the scaler and the network on the training part only.

    The loss weights no class, so that the outputs are calibrated probabilities. The fit continues after the newest
    checkpoint, with the same outcome as without the interruption. It runs on one thread: more would add numbers in
    another order.

    Parameters
    ----------
    on_epoch : callable
        Called with the history after each epoch.

    Returns
    -------
    TickClassifier
        In eval mode, with the weights of the best epoch.
    History
    """
    with threads(1):
        torch.manual_seed(config.seed)
        network = TickClassifier(network_config)
        _fit_scaler(network, split.train.rows)
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        history = fit_loop(
            network,
            optimizer,
            lambda epoch: _train_epoch(network, optimizer, split.train, config, epoch),
            lambda: _loss(network, split.validation),
            config,
            checkpoints,
            on_epoch,
        )
    return network.eval(), history


def probabilities(network: nn.Module, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of each class, float32 [n, classes], for raw rows, float32 [n, columns]."""
    network.eval()
    with threads(1), torch.inference_mode():
        return network(torch.from_numpy(rows)).softmax(dim=1).numpy()


def _fit_scaler(network: TickClassifier, rows: NDArray[np.float32]) -> None:
    exact = rows.astype(np.float64)
    deviation = exact.std(axis=0)
    network.center.copy_(torch.from_numpy(exact.mean(axis=0)))
    network.scale.copy_(torch.from_numpy(np.where(deviation > 0, deviation, 1.0)))  # a constant column stays finite


def _train_epoch(
    network: nn.Module, optimizer: torch.optim.Optimizer, part: Part, config: TickFitConfig, epoch: int
) -> float:
    """Make one pass, in an order that depends on seed and epoch alone, and return its mean loss."""
    network.train()
    order = torch.from_numpy(np.random.default_rng([config.seed, epoch]).permutation(len(part)))
    rows, labels = torch.from_numpy(part.rows), torch.from_numpy(part.labels)
    total = 0.0
    for batch in order.split(config.batch_rows):
        loss = cross_entropy(network(rows[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(part)


def _loss(network: nn.Module, part: Part) -> float:
    network.eval()
    with torch.inference_mode():
        return cross_entropy(network(torch.from_numpy(part.rows)), torch.from_numpy(part.labels)).item()
