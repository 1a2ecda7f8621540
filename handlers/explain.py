"""Integrated gradients: how much each input moved an output, adding up to all that it was moved.

From a baseline, an input that says nothing, a straight path leads to the input. Each value's attribution is its
way times its mean gradient along the path (Sundararajan, Taly & Yan 2017, eq. 1). They add up to the output's
difference between both ends ("completeness"), as far as the integral is exact; the error is said with each answer.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wire.errors import NotExplained, OutputNotFinite

STEPS = 32
"""Points of a piece of the path (Gauss-Legendre)."""
MOST_PIECES = 64
"""Pieces of the path, doubled from one to this many until the attributions add up."""
TOLERANCE = 0.01
"""Completeness error allowed, relative to the output's difference; each output has an absolute one besides."""
Tensors = tuple[torch.Tensor, ...]
Output = Callable[..., torch.Tensor]
"""Inputs, each [points, ...] -> float [points]."""


@dataclass(frozen=True)
class Integral:
    """Attributions of one output's difference between an input and its baseline."""

    attributions: tuple[NDArray[np.float64], ...]
    """One array for each input, of its shape."""
    value: float
    """The output for the input."""
    baseline_value: float
    """The output for the baseline."""
    steps: int
    """Points of the path at which gradients were taken."""
    allowed: float
    """Completeness error up to which the attributions count as complete."""

    @property
    def completeness_error(self) -> float:
        """What the attributions add up to, less the difference that they should."""
        return math.fsum(float(each.sum()) for each in self.attributions) - (self.value - self.baseline_value)

    @property
    def complete(self) -> bool:
        """Whether they add up."""
        return abs(self.completeness_error) <= self.allowed

    def to_dict(self) -> dict[str, Any]:
        """All but the attributions, in plain JSON types."""
        return {
            "value": self.value,
            "baseline_value": self.baseline_value,
            "completeness_error": self.completeness_error,
            "completeness_allowed": self.allowed,
            "complete": self.complete,
            "steps": self.steps,
        }


def integrate(
    output: Output,
    inputs: Sequence[torch.Tensor],
    baselines: Sequence[torch.Tensor],
    floor: float,
    until_s: float,
    points_at_once: int = STEPS * MOST_PIECES,
) -> Integral:
    """Attribute an output's difference to its inputs, which all move along one path.

    Parameters
    ----------
    output : callable
        Differentiable, row by row.
    inputs, baselines : sequence of tensor [1, ...]
        Both ends of the path.
    floor : float
        Completeness error that is let pass however small the difference is, in the output's unit.
    until_s : float
        `time.perf_counter` after which pieces are not doubled any more.
    points_at_once : int
        Most points computed together.

    Raises
    ------
    OutputNotFinite
        At one of the ends.
    """
    from captum.attr import IntegratedGradients  # brings matplotlib: half a second and 35 MB that few workers need

    ends = []
    for end in (inputs, baselines):
        with torch.no_grad():
            ends.append(float(output(*end)))
        if not math.isfinite(ends[-1]):
            raise OutputNotFinite(f"a finite output to explain expected, was {ends[-1]}")
    value, baseline_value = ends
    method, pieces = IntegratedGradients(output), 1
    allowed = max(TOLERANCE * abs(value - baseline_value), floor)
    while True:
        began = time.perf_counter()
        # cuDNN has no gradients of recurrent networks that are not being trained
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            found = method.attribute(
                *_cut(inputs, baselines, pieces),
                n_steps=STEPS,
                internal_batch_size=max(pieces, points_at_once),
            )
        arrays = tuple(each.detach().double().sum(dim=0).cpu().numpy() for each in found)
        integral = Integral(arrays, value, baseline_value, pieces * STEPS, allowed)
        now = time.perf_counter()
        if integral.complete or pieces == MOST_PIECES or now + 2 * (now - began) > until_s:
            return integral
        pieces *= 2


def _cut(inputs: Sequence[torch.Tensor], baselines: Sequence[torch.Tensor], pieces: int) -> tuple[Tensors, Tensors]:
    """The ends and the beginnings of a path's pieces, each [pieces, ...]; their integrals add up to the path's.

    A rule of many points would converge no better where a network has kinks, and its points take longer to find
    than a small network does to compute.
    """
    ends, begins = [], []
    for given, baseline in zip(inputs, baselines, strict=True):
        cuts = torch.linspace(0, 1, pieces + 1, dtype=given.dtype, device=given.device)
        path = baseline + cuts.view(-1, *[1] * (given.dim() - 1)) * (given - baseline)   # (pieces + 1, ...)
        path[-1:] = given  # to the bit
        ends.append(path[1:])
        begins.append(path[:-1])
    return tuple(ends), tuple(begins)


def chosen(output: str | None, default: str, names: Sequence[str]) -> str:
    """The output to explain, one of ``names``.

    Raises
    ------
    NotExplained
        There is none of that name.
    """
    if output is None:
        return default
    if output not in names:
        raise NotExplained(f"output {', '.join(names)} expected to be explained, was {output!r}")
    return output


def refuse_too_many(done: int, of: int, what: str, until_s: float) -> None:
    """Raise `NotExplained` where time is up before all of a request is explained."""
    if time.perf_counter() > until_s:
        raise NotExplained(f"fewer {what} in a request expected, was {of}: time was up after {done}")


def float64_copy(network: nn.Module) -> nn.Module:
    """The network in float64: a small one costs little more, and nothing is lost to rounding."""
    return copy.deepcopy(network).double()
