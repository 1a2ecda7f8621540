"""Training: data sets, fits, evaluations and MLflow runs of the built-in models, from market data to a run folder."""
