"""Measuring our server against others: load, servers under test, table."""
