"""From trades to a run folder: data set, fit, evaluation. Knows nothing of trading or of servers."""
