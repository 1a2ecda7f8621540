"""Serves the tick classifier with TorchServe."""

from nautilus_torchserve.inference.models.tick import TickModel
from nautilus_torchserve.worker.trading_handler import TradingHandler


class TickHandler(TradingHandler):
    """TorchServe's entry point to `TickModel`."""

    model_class = TickModel
