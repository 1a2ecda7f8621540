"""Permutation importance of a price model's inputs."""

from typing import Any

import numpy as np
import torch

from model_defs.return_network import ReturnNetwork, negative_log_likelihood
from nautilus_torchserve.training.price.dataset import Part, PriceDataset

WINDOWS = 1024
"""Number of test windows, evenly spread."""
REPEATS = 3
"""Number of shuffles of each input, which are averaged."""
STEP_GROUPS = (1, 3, 8, 20)
"""The last bar, the 2 or 3 before it and so on: groups of time steps, counted back; the rest is one more."""


def importance(network: ReturnNetwork, dataset: PriceDataset, part: Part, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Measure the permutation importance (Breiman 2001; Fisher, Rudin & Dominici 2019) of columns and of time steps.

    Inputs are shuffled across windows after they were made relative and standardised, a column over all its steps at
    once. Columns with the same information (open, high, low, close) can replace each other.

    Returns
    -------
    dict
        ``importance``: ``column``, ``nll_rise`` (nats a bar), ``rmse_rise_bps``, the largest rise first;
        ``importance_steps``: ``steps``, ``nll_rise``, the last bar first.
    """
    chosen = np.unique(np.linspace(0, len(part) - 1, WINDOWS).astype(np.int64))
    returns = torch.from_numpy(part.returns[chosen])
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        standard = network.standardise(torch.from_numpy(dataset.rows(part.ends[chosen])))  # (B, T, F)
        nll, rmse = _scores(network, standard, returns)

        def rise(steps: slice, at: slice) -> tuple[float, float]:
            rises = []
            for _ in range(REPEATS):
                shuffled = standard.clone()
                shuffled[:, steps, at] = standard[torch.randperm(len(standard), generator=generator)][:, steps, at]
                worse_nll, worse_rmse = _scores(network, shuffled, returns)
                rises.append((worse_nll - nll, worse_rmse - rmse))
            nll_rise, rmse_rise = np.mean(rises, axis=0).tolist()
            return nll_rise, rmse_rise

        columns: list[dict[str, Any]] = []
        for at, column in enumerate(dataset.schema.columns):
            nll_rise, rmse_rise = rise(slice(None), slice(at, at + 1))
            columns.append({"column": column.name, "nll_rise": nll_rise, "rmse_rise_bps": 1e4 * rmse_rise})
        steps: list[dict[str, Any]] = []
        for name, where in _step_groups(standard.shape[1]):
            nll_rise, _ = rise(where, slice(None))
            steps.append({"steps": name, "nll_rise": nll_rise})
    columns.sort(key=lambda column: column["nll_rise"], reverse=True)
    return {"importance": columns, "importance_steps": steps}


def _scores(network: ReturnNetwork, standard: torch.Tensor, returns: torch.Tensor) -> tuple[float, float]:
    outputs = torch.cat([network.from_standard(batch) for batch in standard.split(256)])
    error = (outputs[:, 0] - returns).square().mean().sqrt().item()
    return negative_log_likelihood(outputs, returns).mean().item(), error


def _step_groups(time_steps: int) -> list[tuple[str, slice]]:
    groups, newest = [], 0
    for size in (*STEP_GROUPS, time_steps):
        oldest = min(newest + size, time_steps)
        if oldest > newest:
            name = "last bar" if oldest == 1 else f"{newest + 1} to {oldest} back"
            groups.append((name, slice(time_steps - oldest, time_steps - newest)))
        newest = oldest
    return groups
