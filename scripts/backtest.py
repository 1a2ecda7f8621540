"""`nautilus-torchserve backtest` from a checkout."""

from nautilus_torchserve.cli.backtest import app

if __name__ == "__main__":
    app()
