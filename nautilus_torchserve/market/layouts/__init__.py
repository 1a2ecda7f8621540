"""The layouts of market data files: which columns they have, what these are called, and what they mean."""
