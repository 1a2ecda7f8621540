"""Epochs until validation no longer improves, with a checkpoint after each."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from nautilus_torchserve.training.fit.checkpoints import Checkpoints, History


def fit_loop(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    train_epoch: Callable[[int], float],
    validation_loss: Callable[[], float],
    epochs: int,
    patience: int,
    checkpoints: Checkpoints,
    inputs: str,
    on_epoch: Callable[[History], None],
) -> History:
    """Fit, and leave the best epoch's weights in the network.

    Goes on from the newest checkpoint when it has the same ``inputs``. The outcome is that of an
    uninterrupted fit where ``train_epoch`` depends on network, optimizer and epoch alone.

    Parameters
    ----------
    train_epoch : callable
        Given the number of epochs done, makes one pass and returns its mean loss.
    validation_loss : callable
        The loss that is to become small.
    epochs, patience : int
        At most so many passes; stop after so many without a smaller validation loss.
    inputs : str
        Hash of all that decides the outcome.
    on_epoch : callable
        Called with the history after each epoch, its checkpoint written.
    """
    history = checkpoints.restore(network, optimizer, inputs)
    while history.epochs < epochs and history.epochs - history.best_epoch < patience:
        train_loss = train_epoch(history.epochs)
        history = History(inputs, [*history.train_loss, train_loss], [*history.validation_loss, validation_loss()])
        checkpoints.save(network, optimizer, history)
        on_epoch(history)
    checkpoints.load_best(network, history)
    return history


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Compute in bfloat16 inside, where the device is CUDA and an operation allows it."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()
