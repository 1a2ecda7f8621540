"""Live runs: a node assembled from a file, its limits, its metrics and its log."""
