"""Rollouts of versions to a running server."""
