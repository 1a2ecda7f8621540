"""A new version on trial beside the one that serves: canary, shadow, A/B experiment, and the statistics of them."""
