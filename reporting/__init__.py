"""A backtest's report: one page that works offline, and its figures as JSON."""
