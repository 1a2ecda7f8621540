"""Serves a sentiment model with TorchServe."""

from nautilus_torchserve.inference.models.sentiment import SentimentModel
from nautilus_torchserve.worker.trading_handler import TradingHandler


class SentimentHandler(TradingHandler):
    """TorchServe's entry point to `SentimentModel`."""

    model_class = SentimentModel
