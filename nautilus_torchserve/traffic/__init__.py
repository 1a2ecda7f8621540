"""Which version of a model answers whom while there is more than one, and what came of it."""
