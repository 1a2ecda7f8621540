"""How long a model takes to answer, as recorded from a server, and as backtests replay it."""
