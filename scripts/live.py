"""`nautilus-torchserve live` from a checkout."""

from nautilus_torchserve.cli.live import app

if __name__ == "__main__":
    app()
