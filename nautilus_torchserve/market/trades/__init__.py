"""Trades: files, catalogs, simulation."""
