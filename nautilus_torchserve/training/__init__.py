"""From trades or bars to a run folder: data set, fit, evaluation, tracking. Knows nothing of trading or of servers."""
