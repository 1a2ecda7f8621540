"""Tiles: each row's bits are its own, whoever is in the batch."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_defs.return_network import ReturnNetwork, predict
from model_defs.tick_classifier import TickClassifier, TickClassifierConfig
from nautilus_torchserve.inference.model_files import build_network
from nautilus_torchserve.inference.tiles import WINDOW_TILES, Tiles, fill, probe

torch.manual_seed(3)
torch.set_num_threads(1)
NETWORK = TickClassifier(TickClassifierConfig()).eval()
ROWS = torch.randn(3000, 4)
with torch.inference_mode():
    TILES = probe(NETWORK, fill(ROWS[:64], 1024))
    ALONE = torch.cat([TILES.run(NETWORK, row[None]) for row in ROWS])


@settings(deadline=None)
@given(st.lists(st.integers(0, len(ROWS) - 1), min_size=1, max_size=2500))
def test_any_batch_gives_the_bits_of_the_row_alone(chosen: list[int]) -> None:
    with torch.inference_mode():
        together = TILES.run(NETWORK, ROWS[chosen])

    assert torch.equal(together, ALONE[chosen])


@pytest.mark.parametrize("count", [1, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025, 3000])
def test_edges_of_tiles_lose_no_row(count: int) -> None:
    with torch.inference_mode():
        assert torch.equal(TILES.run(NETWORK, ROWS[:count]), ALONE[:count])


def test_tiles_agree_with_the_plain_forward() -> None:
    with torch.inference_mode():
        plain = NETWORK(ROWS)

    np.testing.assert_allclose(ALONE, plain, rtol=1e-4, atol=1e-5)


def test_probe_avoids_tiles_that_change_the_bits() -> None:
    def forward(rows: torch.Tensor) -> torch.Tensor:
        """A kernel that takes another path for tiles of 16 or more rows, and for odd positions."""
        nudge = torch.zeros(len(rows), 1)
        if len(rows) >= 16:
            nudge[1::2] = 1e-7
        return rows.sum(dim=1, keepdim=True) + nudge

    assert probe(forward, torch.rand(1024, 4)) == Tiles((8,))


def test_probe_refuses_a_network_that_is_not_deterministic() -> None:
    with pytest.raises(RuntimeError, match="expected equal outputs of two calls"):
        probe(lambda rows: rows + torch.rand(len(rows), 1), torch.rand(1024, 4))


@pytest.mark.parametrize(
    ("module", "config"),
    [
        ("price_lstm", {"hidden": 32}),
        ("price_lstm", {"hidden": 32, "cell": "gru"}),
        ("residual_price_lstm", {"hidden": 32, "heads": 4}),
        ("cnn_lstm", {"inputs": 5, "hidden": 32}),
        ("patch_tst", {"hidden": 32}),
    ],
)
def test_windows_keep_their_bits_in_any_company(module: str, config: dict[str, Any]) -> None:
    network = build_network({"network": {"module": f"model_defs.{module}", "config": config}}).eval()
    assert isinstance(network, ReturnNetwork)
    torch.nn.init.normal_(network.head.weight)
    windows = torch.rand(70, 60, 5) + 1
    forward = partial(predict, network)

    with torch.inference_mode():
        tiles = probe(forward, fill(windows[:16], 64), *WINDOW_TILES)
        alone = torch.cat([tiles.run(forward, window[None]) for window in windows])
        together = {count: tiles.run(forward, windows[:count]) for count in (2, 3, 5, 17, 64, 70)}
        shuffled = tiles.run(forward, windows.flip(0))

    assert len(alone.unique(dim=0)) == len(windows)
    assert all(torch.equal(table, alone[:count]) for count, table in together.items())
    assert torch.equal(shuffled, alone.flip(0))
