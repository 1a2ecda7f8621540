"""Attributions of one prediction to its inputs."""
