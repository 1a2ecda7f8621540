"""The price model's actor."""
