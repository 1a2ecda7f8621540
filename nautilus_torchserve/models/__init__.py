"""Model kinds: what a model is to the rest of the system, and the table of the built-in ones."""
