"""`nautilus-torchserve sign` from a checkout."""

from nautilus_torchserve.cli.sign import app

if __name__ == "__main__":
    app()
