"""Shadow deployments."""
