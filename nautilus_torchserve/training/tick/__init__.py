"""Training of the tick classifier."""
