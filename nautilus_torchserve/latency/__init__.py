"""Inference latency: recorded from a server, and replayed in backtests."""
