"""A live run against its backtest."""
