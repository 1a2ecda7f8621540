"""Splits of a model's traffic between versions, routes, and the records of both."""
