"""PyTorch models behind TorchServe, and NautilusTrader strategies that trade on their predictions."""
