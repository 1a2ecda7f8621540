"""A backtest on bars and headlines."""
