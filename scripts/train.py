"""`nautilus-torchserve train` from a checkout."""

from nautilus_torchserve.cli.train import app

if __name__ == "__main__":
    app()
