"""The tick model's actor."""
