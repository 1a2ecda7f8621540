"""Serves a price model with TorchServe."""

from nautilus_torchserve.inference.models.price import PriceModel
from nautilus_torchserve.worker.trading_handler import TradingHandler


class PriceHandler(TradingHandler):
    """TorchServe's entry point to `PriceModel`."""

    model_class = PriceModel
