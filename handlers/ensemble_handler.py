"""Serves a price model and a sentiment model in one call with TorchServe."""

from nautilus_torchserve.inference.models.ensemble import EnsembleModel
from nautilus_torchserve.worker.trading_handler import TradingHandler


class EnsembleHandler(TradingHandler):
    """TorchServe's entry point to `EnsembleModel`."""

    model_class = EnsembleModel
