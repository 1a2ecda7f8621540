"""Trades: the array form that training and backtests share, where it comes from, and the checks on it."""
