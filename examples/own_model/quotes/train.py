"""Fit the network of `model_defs/book.py` and save its run: ``python train.py quotes.csv``.

Without a file it writes simulated quotes, in Tardis' layout, whose imbalance foretells the next move.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import torch
from model_defs.book import SPEC, Gru, GruConfig
from torch import nn

from nautilus_torchserve.market.quotes.load import load_quotes
from nautilus_torchserve.trading.features.arrays import feature_arrays
from nautilus_torchserve.training.runs.save import save_run


def simulate(path: str, quotes: int) -> None:
    random = np.random.default_rng(1)
    bid, time_us = 1_000_000, 1_700_000_000_000_000  # cents; microseconds
    header = (
        "exchange",
        "symbol",
        "timestamp",
        "local_timestamp",
        "ask_amount",
        "ask_price",
        "bid_price",
        "bid_amount",
    )
    with Path(path).open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        for _ in range(quotes):
            bid_size, ask_size = random.integers(1, 100, 2)
            time_us += int(random.integers(50_000, 500_000))
            ask_price, bid_price = f"{(bid + 10) / 100:.2f}", f"{bid / 100:.2f}"
            table.writerow(
                ("binance", "BTCUSDT", time_us, time_us + 200, ask_size / 10, ask_price, bid_price, bid_size / 10)
            )
            bid += 100 * int(np.sign(random.normal((bid_size - ask_size) / 50)))


if __name__ == "__main__":
    torch.manual_seed(1)
    path = sys.argv[1] if len(sys.argv) > 1 else "quotes.csv"
    if len(sys.argv) == 1:
        simulate(path, quotes=2_000)
    arrays = feature_arrays(SPEC, load_quotes(path))
    moves = 1e4 * (arrays.price[1:] / arrays.price[:-1] - 1)  # to the next quote
    inputs, fit = torch.from_numpy(arrays.inputs[:-1].copy()), len(moves) // 2
    targets = torch.from_numpy(moves.astype(np.float32))[:, None]

    network = Gru(GruConfig())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.mse_loss(network(inputs[:fit]), targets[:fit]).backward()
        optimizer.step()

    with torch.no_grad():
        correlation = float(np.corrcoef(network(inputs[fit:])[:, 0].numpy(), moves[fit:])[0, 1])
    print(f"{fit} windows fitted, correlation {correlation:.3f} on the {len(moves) - fit} after them")
    fitted = int(arrays.ts_event[0]), int(arrays.ts_event[fit])
    save_run(network, SPEC, "runs/book", arrays.inputs[fit:], data=path, fitted=fitted, metrics={"ic": correlation})
