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


@dataclass(frozen=True)
class History:
    """The epochs of a fit so far."""

    inputs: str
    """Hash of all that decides the outcome; a fit goes on only from its own checkpoints."""
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
    """Folder of checkpoints, one sub-folder an epoch; keeps the newest and the best."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

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

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer, inputs: str) -> History:
        """Put the newest state back; checkpoints of other inputs are removed.

        Returns
        -------
        History
            Of zero epochs where there is nothing to go on from.
        """
        saved = self._saved()
        if saved:
            newest = self._of(saved[-1])
            history = History(**json.loads((newest / _HISTORY).read_text()))
            if history.inputs == inputs:
                network.load_state_dict(load_file(newest / _NETWORK))
                optimizer.load_state_dict(torch.load(newest / _OPTIMIZER, weights_only=True))
                return history
        shutil.rmtree(self.folder, ignore_errors=True)
        return History(inputs)

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


def check_counts(config: object, *names: str) -> None:
    """Raise `InvalidArgument` where one of these fields is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise InvalidArgument(f"expected {name} of at least 1, got {getattr(config, name)}")


def check_positive(config: object, *names: str) -> None:
    """Raise `InvalidArgument` where one of these fields is not above 0."""
    for name in names:
        if not getattr(config, name) > 0:
            raise InvalidArgument(f"expected {name} above 0, got {getattr(config, name)}")


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on so many threads inside; leaves the caller's number as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
