"""Registry of released versions in MLflow's model registry, in step with a server."""
