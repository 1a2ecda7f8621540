"""Replays of recorded data through the live machinery."""
