"""Benchmarks as commands: `nautilus-torchserve bench`."""
