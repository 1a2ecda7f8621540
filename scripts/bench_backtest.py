"""`nautilus-torchserve bench backtest` from a checkout."""

from benchmarks.commands.backtest import app

if __name__ == "__main__":
    app()
