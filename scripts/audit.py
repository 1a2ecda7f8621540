"""`nautilus-torchserve audit` from a checkout."""

from nautilus_torchserve.cli.audit import app

if __name__ == "__main__":
    app()
