"""Many backtests: over latencies, over settings, in processes or on a cluster."""
