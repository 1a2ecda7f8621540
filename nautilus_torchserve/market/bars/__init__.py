"""Bars: files, catalogs, checks, simulation."""
