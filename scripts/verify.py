"""`nautilus-torchserve verify` from a checkout."""

from nautilus_torchserve.cli.verify import app

if __name__ == "__main__":
    app()
