"""`nautilus-torchserve keys` from a checkout."""

from nautilus_torchserve.cli.keys import app

if __name__ == "__main__":
    app()
