"""`nautilus-torchserve parity` from a checkout."""

from nautilus_torchserve.cli.parity import app

if __name__ == "__main__":
    app()
