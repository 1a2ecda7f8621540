"""Building archives."""
