"""`nautilus-torchserve serve` from a checkout."""

from nautilus_torchserve.cli.serve import app

if __name__ == "__main__":
    app()
