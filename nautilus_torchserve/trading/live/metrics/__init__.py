"""Metrics of a live run."""
