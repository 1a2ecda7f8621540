"""Training of price models."""
