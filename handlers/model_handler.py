"""Serves the model that ``model.json`` names with TorchServe."""

from nautilus_torchserve.inference.model import load_model
from nautilus_torchserve.worker.trading_handler import TradingHandler


class ModelHandler(TradingHandler):
    """TorchServe's entry point to any model."""

    model_class = staticmethod(load_model)
