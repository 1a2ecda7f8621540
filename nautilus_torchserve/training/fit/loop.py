"""Epochs until validation no longer improves, with a checkpoint after each."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nautilus_torchserve.user_error import InvalidArgument

_NETWORK, _OPTIMIZER, _HISTORY = "network.safetensors", "optimizer.pt", "history.json"


def check_at_least(config: object, least: int, *names: str) -> None:
    """Raise `InvalidArgument` where one of these fields is below ``least``."""
    for name in names:
        if not getattr(config, name) >= least:
            raise InvalidArgument(f"expected {name} of at least {least}, got {getattr(config, name)}")


def check_positive(config: object, *names: str) -> None:
    """Raise `InvalidArgument` where one of these fields is not above 0."""
    for name in names:
        if not getattr(config, name) > 0:
            raise InvalidArgument(f"expected {name} above 0, got {getattr(config, name)}")


@dataclass(frozen=True)
class FitConfig:
    """Settings that every fit has."""

    epochs: int
    """Largest number of passes over the training part."""
    patience: int
    """Number of epochs without a smaller validation loss after which the fit stops."""
    learning_rate: float
    """Largest learning rate of AdamW (Loshchilov & Hutter 2019)."""
    weight_decay: float = 1e-2
    """Decoupled weight decay of AdamW."""
    seed: int = 1
    """Seed of the initial weights, of each epoch's order of the training part, and of dropout."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "epochs", "patience")
        check_positive(self, "learning_rate")
        check_at_least(self, 0, "weight_decay", "seed")


@dataclass(frozen=True)
class History:
    """The epochs of a fit so far."""

    inputs: str
    """Hash of everything that the outcome depends on."""
    train_loss: list[float] = field(default_factory=list)
    """Mean loss of each epoch's batches."""
    validation_loss: list[float] = field(default_factory=list)
    """Loss on the validation part after each epoch."""

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return len(self.validation_loss)

    @property
    def best_epoch(self) -> int:
        """The epoch (from 1) with the least validation loss; 0 before the first."""
        return 1 + self.validation_loss.index(min(self.validation_loss)) if self.validation_loss else 0


class Checkpoints:
    """Folder of checkpoints, one sub-folder an epoch; keeps the newest and the best.

    Parameters
    ----------
    folder : Path
    inputs : str
        Hash of everything that the outcome of the fit depends on; checkpoints of other inputs are removed.
    """

    def __init__(self, folder: Path, inputs: str) -> None:
        self.folder = folder
        self.inputs = inputs

    def save(self, network: nn.Module, optimizer: torch.optim.Optimizer, history: History) -> None:
        """Write the newest epoch's state beside its final place, then move it there."""
        target = self._of(history.epochs)
        writing = target.with_suffix(".writing")
        for stale in (writing, target):
            shutil.rmtree(stale, ignore_errors=True)
        writing.mkdir(parents=True)
        save_file(network.state_dict(), writing / _NETWORK)
        torch.save(optimizer.state_dict(), writing / _OPTIMIZER)
        (writing / _HISTORY).write_text(json.dumps(asdict(history)))
        writing.rename(target)
        for epoch in self._saved():
            if epoch not in (history.epochs, history.best_epoch):
                shutil.rmtree(self._of(epoch))

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> History:
        """Put the newest state back.

        Returns
        -------
        History
            Of zero epochs where there is no checkpoint to continue from.
        """
        saved = self._saved()
        if saved:
            newest = self._of(saved[-1])
            history = History(**json.loads((newest / _HISTORY).read_text()))
            if history.inputs == self.inputs:
                network.load_state_dict(load_file(newest / _NETWORK))
                optimizer.load_state_dict(torch.load(newest / _OPTIMIZER, weights_only=True))
                return history
        shutil.rmtree(self.folder, ignore_errors=True)
        return History(self.inputs)

    def load_best(self, network: nn.Module, history: History) -> None:
        """Put the weights of the epoch with the least validation loss into the network."""
        network.load_state_dict(load_file(self._of(history.best_epoch) / _NETWORK))

    def _of(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}"

    def _saved(self) -> list[int]:
        folders = (folder for folder in self.folder.glob("epoch-*") if not folder.suffix)
        return sorted(int(folder.name.removeprefix("epoch-")) for folder in folders)


def fit_loop(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    train_epoch: Callable[[int], float],
    validation_loss: Callable[[], float],
    config: FitConfig,
    checkpoints: Checkpoints,
    on_epoch: Callable[[History], None],
) -> History:
    """Fit, and leave the best epoch's weights in the network.

    Continues after the newest checkpoint. The outcome is that of an uninterrupted fit where ``train_epoch`` depends on
    network, optimizer and epoch alone.

    Parameters
    ----------
    train_epoch : callable
        Given the number of epochs done, makes one pass and returns its mean loss.
    validation_loss : callable
        The loss that is to become small.
    on_epoch : callable
        Called with the history after each epoch, its checkpoint written.
    """
    history = checkpoints.restore(network, optimizer)
    while history.epochs < config.epochs and history.epochs - history.best_epoch < config.patience:
        train_loss = train_epoch(history.epochs)
        history = History(
            history.inputs, [*history.train_loss, train_loss], [*history.validation_loss, validation_loss()]
        )
        checkpoints.save(network, optimizer, history)
        on_epoch(history)
    checkpoints.load_best(network, history)
    return history


def mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Compute in bfloat16 inside, where the device is CUDA and an operation allows it."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on so many threads inside; leaves the caller's number as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
