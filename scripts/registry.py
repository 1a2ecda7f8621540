"""`nautilus-torchserve registry` from a checkout."""

from nautilus_torchserve.cli.registry import app

if __name__ == "__main__":
    app()
