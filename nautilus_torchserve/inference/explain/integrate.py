"""Integrated gradients: how much each input moved an output, adding up to all that it was moved.

A straight path leads from a baseline, a neutral input, to the input. Each value's attribution is its difference
between both ends times its mean gradient along the path (Sundararajan, Taly & Yan 2017, eq. 1). They add up to the
output's difference between both ends ("completeness"), as far as the integral is exact; each explanation reports the
error. Captum's implementation gives the same numbers, ten times slower for small networks, and imports matplotlib.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nautilus_torchserve.wire.errors import NotExplained, OutputNotFinite

STEPS = 8
"""Points of one piece of the path (Gauss-Legendre)."""
MAX_PIECES = 256
"""Most pieces of the path, doubled from one until the attributions add up."""
TOLERANCE = 0.01
"""Completeness error allowed, relative to the output's difference; each output also has an absolute one."""
FEW_STEPS, FEW_TOLERANCE = 32, 0.1
"""Attributions of fewer points may add up by chance: they count only within this part of the allowed error."""
ALONE = "-explain"
"""Suffix of the names of registrations for explanations alone, which then may take longer."""
Tensors = tuple[torch.Tensor, ...]
Output = Callable[..., torch.Tensor]
"""Inputs, each [points, ...] -> float [points]."""
T = TypeVar("T")


@dataclass(frozen=True)
class TimeLimit:
    """Deadlines of one explanation (`time.perf_counter`)."""

    refine_until_s: float = math.inf
    """Time after which a path is not cut into more pieces."""
    until_s: float = math.inf
    """Time after which the explanation is abandoned, unless a coarser one is complete."""


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
        """Sum of the attributions, less the output's difference."""
        return math.fsum(float(part.sum()) for part in self.attributions) - (self.value - self.baseline_value)

    @property
    def complete(self) -> bool:
        """Whether the attributions add up."""
        return abs(self.completeness_error) <= self.allowed

    @property
    def is_exact(self) -> bool:
        """Whether the attributions add up, and not by chance."""
        part = FEW_TOLERANCE if self.steps < FEW_STEPS else 1.0
        return abs(self.completeness_error) <= part * self.allowed

    def to_dict(self) -> dict[str, Any]:
        """Return all but the attributions, in plain JSON types."""
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
    limit: TimeLimit,
    points_at_once: int = STEPS * MAX_PIECES,
) -> Integral:
    """Attribute an output's difference to its inputs, which all move along one path.

    Parameters
    ----------
    output : callable
        Differentiable, row by row.
    inputs, baselines : sequence of tensor [1, ...]
        Both ends of the path.
    floor : float
        Completeness error that is allowed however small the difference is, in the output's unit.
    limit : TimeLimit
        Checked before each computation of ``points_at_once`` points.
    points_at_once : int
        Most points that are computed together.

    Raises
    ------
    OutputNotFinite
        At one of the ends.
    TimeoutError
        Before the path was computed once.
    """
    ends = []
    for end in (inputs, baselines):
        with torch.no_grad():
            ends.append(float(output(*end)))
        if not math.isfinite(ends[-1]):
            raise OutputNotFinite(f"expected a finite output to explain, got {ends[-1]}")
    value, baseline_value = ends
    pieces, integral = 1, None
    allowed = max(TOLERANCE * abs(value - baseline_value), floor)
    while True:
        began = time.perf_counter()
        try:
            parts = _attribute(output, inputs, baselines, pieces, limit.until_s, points_at_once)
        except TimeoutError:
            if integral is None:
                raise
            return integral
        integral = Integral(parts, value, baseline_value, pieces * STEPS, allowed)
        now = time.perf_counter()
        if integral.is_exact or pieces == MAX_PIECES or now + 2 * (now - began) > limit.refine_until_s:
            return integral
        pieces *= 2


def _attribute(
    output: Output,
    inputs: Sequence[torch.Tensor],
    baselines: Sequence[torch.Tensor],
    pieces: int,
    until_s: float,
    points_at_once: int,
) -> tuple[NDArray[np.float64], ...]:
    """Compute each input's attributions along a path of so many pieces."""
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(STEPS))  # on [-1, 1]
    ends, begins = _cut(inputs, baselines, pieces)
    differences = [end - begin for end, begin in zip(ends, begins, strict=True)]
    totals = [torch.zeros_like(value[0], dtype=torch.float64) for value in inputs]
    place, piece = torch.arange(STEPS).repeat(pieces), torch.arange(pieces).repeat_interleave(STEPS)
    for start in range(0, len(place), points_at_once):
        if time.perf_counter() > until_s:
            raise TimeoutError
        some = slice(start, start + points_at_once)
        along = [values[place[some]].to(inputs[0].device) for values in ((1 + nodes) / 2, weights / 2)]
        path = [
            (begin[piece[some]] + _beside(along[0], difference) * difference[piece[some]]).requires_grad_()
            for begin, difference in zip(begins, differences, strict=True)
        ]
        # cuDNN has no gradients of recurrent networks that are not being trained
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            gradients = torch.autograd.grad(output(*path).sum(), path)
        for total, gradient, difference in zip(totals, gradients, differences, strict=True):
            parts = gradient * difference[piece[some]] * _beside(along[1], difference)
            total += parts.sum(dim=0, dtype=torch.float64)
    return tuple(total.cpu().numpy() for total in totals)


def _beside(numbers: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return one number a point in the type of values [points, ...], and broadcastable to them."""
    return numbers.to(values.dtype).view(-1, *[1] * (values.dim() - 1))


def _cut(inputs: Sequence[torch.Tensor], baselines: Sequence[torch.Tensor], pieces: int) -> tuple[Tensors, Tensors]:
    """Return the ends and the beginnings of a path's pieces, each [pieces, ...].

    One rule of many points would converge no better where a network has kinks, and takes longer to construct than
    a small network to compute.
    """
    ends, begins = [], []
    for end, baseline in zip(inputs, baselines, strict=True):
        cuts = torch.linspace(0, 1, pieces + 1, dtype=end.dtype, device=end.device)
        path = baseline + cuts.view(-1, *[1] * (end.dim() - 1)) * (end - baseline)  # (pieces + 1, ...)
        path[-1:] = end  # to the bit
        ends.append(path[1:])
        begins.append(path[:-1])
    return tuple(ends), tuple(begins)


def select_output(output: str | None, default: str, names: Sequence[str]) -> str:
    """Return the output to explain, one of ``names``.

    Raises
    ------
    NotExplained
        There is none of that name.
    """
    if output is None:
        return default
    if output not in names:
        raise NotExplained(f"expected output {', '.join(names)} to explain, got {output[:100]!r}")
    return output


def fair_share(until_s: float, waiting: int) -> float:
    """Return the deadline of the first of several items, each of which gets the same part of the time left."""
    now = time.perf_counter()
    return now + max(0.0, until_s - now) / waiting


def explain_each(
    explain_one: Callable[[T, TimeLimit], dict[str, Any]], items: Sequence[T], what: str, until_s: float
) -> list[dict[str, Any]]:
    """Explain one item after the other, all of them before ``until_s``.

    Raises
    ------
    NotExplained
        Time is up before all are explained.
    """
    explanations: list[dict[str, Any]] = []
    for item in items:
        try:
            if time.perf_counter() > until_s:
                raise TimeoutError
            limit = TimeLimit(fair_share(until_s, len(items) - len(explanations)), until_s)
            explanations.append(explain_one(item, limit))
        except TimeoutError:
            raise NotExplained(
                f"expected explanations of {len(items)} {what} within the time that a batch has for them, got "
                f"{len(explanations)}: send fewer or shorter {what} in a request, or to a registration of the archive "
                f"whose name ends in {ALONE!r}"
            ) from None
    return explanations


def check_count(count: int, limit: int, what: str) -> None:
    """Raise `NotExplained` where there is more to explain than one request may hold."""
    if count > limit:
        raise NotExplained(f"expected at most {limit:,} {what} to explain in a request, got {count:,}")


def float64_copy(network: nn.Module) -> nn.Module:
    """Copy a network in float64: a small one costs little more, and nothing is lost to rounding."""
    return copy.deepcopy(network).double()
