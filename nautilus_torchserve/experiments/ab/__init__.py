"""A/B experiments between versions, and their statistics."""
