"""Reports: one page that works offline, and its figures as JSON; of a backtest and of a price model's evaluation."""
