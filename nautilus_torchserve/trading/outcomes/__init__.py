"""Outcomes of predictions."""
