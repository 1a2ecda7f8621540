"""Signatures of archives: whose code may run."""
