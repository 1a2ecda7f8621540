"""The audit log of a live run."""
