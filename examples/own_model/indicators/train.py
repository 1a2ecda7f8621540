"""Fit the network of `model_defs/momentum.py` and save its run: ``python train.py [trades.csv]``.

Any training loop will do: ``feature_arrays`` gives the inputs that the actor computes, ``save_run`` takes the network.
"""

import sys

import numpy as np
import torch
from model_defs.momentum import SPEC, Mlp, MlpConfig
from torch import nn

from nautilus_torchserve.market.trades.load import load
from nautilus_torchserve.trading.features.arrays import feature_arrays
from nautilus_torchserve.training.runs.save import save_run

MINUTES = 5
"""Minutes ahead that the label looks."""

torch.manual_seed(1)
trades = load(sys.argv[1] if len(sys.argv) > 1 else None, trades=90_000, seed=1)
arrays = feature_arrays(SPEC, trades)
rises = (arrays.price[MINUTES:] > arrays.price[:-MINUTES]).astype(np.int64)
inputs = arrays.inputs[:-MINUTES]
fit = len(inputs) * 7 // 10  # the last three tenths are for the evaluation
scale = inputs[:fit].std(axis=0)

network = Mlp(MlpConfig(mean=tuple(inputs[:fit].mean(axis=0).tolist()), scale=tuple(scale.tolist())))
optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-2)
rows, classes = torch.from_numpy(inputs.copy()), torch.from_numpy(1 - rises)  # class 0 is UP
for _ in range(60):
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(rows[:fit]), classes[:fit]).backward()
    optimizer.step()

with torch.no_grad():
    accuracy = float((network(rows[fit:]).argmax(dim=1) == classes[fit:]).float().mean())
print(f"{fit} rows fitted, accuracy {accuracy:.3f} on the {len(rows) - fit} after them")
fitted = int(trades.ts_event[0]), int(arrays.ts_event[fit + MINUTES])  # labels reach further than inputs
save_run(network, SPEC, "runs/momentum", inputs[fit:], data=trades, fitted=fitted, metrics={"accuracy": accuracy})
