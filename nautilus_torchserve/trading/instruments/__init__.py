"""Instrument definitions."""
