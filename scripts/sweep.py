"""`nautilus-torchserve sweep` from a checkout."""

from nautilus_torchserve.cli.sweep import app

if __name__ == "__main__":
    app()
