"""A backtest on bars of one or several instruments, one prediction a bar."""
