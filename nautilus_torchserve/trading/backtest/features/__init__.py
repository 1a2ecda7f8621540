"""A backtest of a model on features of your own."""
