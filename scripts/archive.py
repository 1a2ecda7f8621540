"""`nautilus-torchserve pack` from a checkout."""

from nautilus_torchserve.cli.pack import app

if __name__ == "__main__":
    app()
