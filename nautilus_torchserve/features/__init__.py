"""Features: the inputs of a model, computed the same way in training, backtest and live."""
