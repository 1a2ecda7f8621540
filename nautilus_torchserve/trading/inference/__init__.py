"""Actors that request predictions."""
