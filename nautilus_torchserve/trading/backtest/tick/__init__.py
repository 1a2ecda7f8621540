"""A backtest on the trades of one instrument, one prediction a trade."""
