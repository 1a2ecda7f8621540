"""Training of the ensemble of a price and a sentiment model."""
