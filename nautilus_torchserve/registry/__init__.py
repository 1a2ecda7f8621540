"""Which versions of a model there are and were, in MLflow's model registry, and which of them serves."""
