"""Trades and bars: the array forms that training and backtests share, where they come from, and the checks on them."""
