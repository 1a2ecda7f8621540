"""Training of the sentiment model."""
