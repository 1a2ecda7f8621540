"""Scores of predictions and of accounts: each is computed here, and nowhere else."""
