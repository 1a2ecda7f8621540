"""The NautilusTrader side: data types, actors, the strategy base class, backtests and live runs."""
