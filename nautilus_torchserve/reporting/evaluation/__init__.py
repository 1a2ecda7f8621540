"""The page of a model's evaluation."""
