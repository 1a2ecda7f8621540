"""Clients of a model version: over HTTP and in process."""
