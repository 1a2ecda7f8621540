"""An exponential moving average of a network's weights, which generalises better than the last ones."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class MovingAverage:
    """The trainable weights of a network and their average (Polyak & Juditsky 1992).

    Parameters
    ----------
    network : nn.Module
        What is not to be trained has ``requires_grad`` False by now.
    decay : float
        Share of the average that a step leaves, in [0, 1); less in the first steps, see `update`.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        named = {name.replace(".", "/"): weight for name, weight in network.named_parameters() if weight.requires_grad}
        self._decay = decay
        self._current = list(named.values())
        self._average = [nn.Parameter(weight.detach().clone(), requires_grad=False) for weight in self._current]
        self.state = nn.ModuleDict(
            {
                "current": nn.ParameterDict(named),
                "average": nn.ParameterDict(dict(zip(named, self._average, strict=True))),
            }
        )
        """Current and average weights for a checkpoint; the current ones are the network's own."""

    def update(self, step: int) -> None:
        """Take a step's weights in; the average looks back no further than about a tenth of the steps so far."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for average, current in zip(self._average, self._current, strict=True):
                average.lerp_(current, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Compute with the average inside."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def settle(self) -> None:
        """Leave the average in the network."""
        with torch.no_grad():
            for average, current in zip(self._average, self._current, strict=True):
                current.copy_(average)

    def _swap(self) -> None:
        for average, current in zip(self._average, self._current, strict=True):
            average.data, current.data = current.data, average.data
