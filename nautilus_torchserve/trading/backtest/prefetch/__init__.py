"""Predictions requested in bulk before a backtest."""
