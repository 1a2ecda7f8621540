"""Features of your own, computed from NautilusTrader's data: in a backtest, live and over files."""
