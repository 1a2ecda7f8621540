"""What a model sees, computed the same way in training, backtest and live."""
