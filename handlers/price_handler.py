"""Serves a price model: the next bar's close, its return and how sure the model is of the return's sign."""

from typing import cast

import torch

from handlers.bar_windows import check_windows
from handlers.trading_handler import TradingHandler
from model_defs.return_network import OUTPUTS, ReturnNetwork, predict
from wire.body import Request


class PriceHandler(TradingHandler):
    """Windows of bars to `OUTPUTS`; the network is whichever the archive holds."""

    output_names = OUTPUTS
    # A recurrent network takes as long as its steps do, one after the other: a lone window must not wait for
    # 15 rows of padding. A tile of two costs little over one, and larger ones agree with it bit for bit (see
    # `handlers`), where a tile of one takes another kernel than all of them.
    base_tiles = (2, 4, 1)
    large_tiles = (4, 16, 64)

    def check(self, request: Request) -> None:
        check_windows(request)

    def answer(self, rows: torch.Tensor) -> torch.Tensor:
        return predict(cast(ReturnNetwork, self.model), rows)  # (B, 4)
