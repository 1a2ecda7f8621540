"""Limits of a live run."""
