"""Scores of predictions and of accounts, the only implementation of each."""
