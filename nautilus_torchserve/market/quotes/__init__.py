"""Top-of-book quotes of one instrument: arrays, checks and loading."""
