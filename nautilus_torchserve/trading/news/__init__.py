"""The sentiment model's and the ensemble's actors."""
