"""`nautilus-torchserve watch` from a checkout."""

from nautilus_torchserve.cli.watch import app

if __name__ == "__main__":
    app()
